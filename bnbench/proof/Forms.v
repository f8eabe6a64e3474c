(* The other forms of the gradient, and that they are the one of OneLayer, which is written entry by entry.

   Matrix form: the letters as products of matrices, and ∂R/∂Γ1 = Xᵀ dZ as one expression (matrix_form_of_dΓ1).
   One-pass form: with x̄ = Xᵀ1/N and C = (X - 1x̄ᵀ)ᵀ(X - 1x̄ᵀ), which depend on X alone, nothing of size N p2 has to be
   held (one_pass_mean, one_pass_variance, one_pass_product and one_pass_gradient: (6.1) to (6.4) of the derivation).
   The vec and ⊗ form is in Kronecker. *)
From Coq Require Import Reals Lra Lia.
From Coquelicot Require Import Coquelicot.
From bnbench Require Import Sums Layer Dense OneLayer Matrix Kronecker.
Open Scope R_scope.

(* Σ_i X_ik / N, and the sums of squares and products of what deviates from it. *)
Definition xbar (N : nat) (X : matrix) : vector := fun k => (Σ (i < N) X i k) / INR N.
Definition C (N : nat) (X : matrix) : matrix := (X - ones ⊗ᵥ xbar N X) ᵀ ·[N] (X - ones ⊗ᵥ xbar N X).

Section Forms.
  Variables (N p1 p2 : nat) (ddof eps : R) (a a' : R -> R) (X : matrix) (y : vector).
  Variables (Γ1 : matrix) (γ β Γ2 : vector).

  Notation Z := (Z p1 X Γ1).
  Notation μ := (μ N p1 X Γ1).
  Notation variance := (variance N p1 ddof eps X Γ1).
  Notation s := (s N p1 ddof eps X Γ1).
  Notation Xhat := (Xhat N p1 ddof eps X Γ1).
  Notation B := (B N p1 ddof eps X Γ1 γ β).
  Notation A := (A N p1 ddof eps a X Γ1 γ β).
  Notation yhat := (yhat N p1 p2 ddof eps a X Γ1 γ β Γ2).
  Notation e := (e N p1 p2 ddof eps a X y Γ1 γ β Γ2).
  Notation S := (stub N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation dβ := (dβ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation dγ := (dγ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation dΓ2 := (dΓ2 N p1 p2 ddof eps a X y Γ1 γ β Γ2).
  Notation dZ := (dZ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation dΓ1 := (dΓ1 N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation dX := (dX N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation xbar := (xbar N X).
  Notation C := (C N X).

  (* Forward:  Z = X Γ1,  X̂ = (Z - 1μᵀ) diag(1/s),  ŷ = A Γ2, *)
  Theorem matrix_form_of_Z : Z =[N, p2] X ·[p1] Γ1.
  Proof. reflexivity. Qed.

  Theorem matrix_form_of_Xhat : Xhat =[N, p2] (Z - ones ⊗ᵥ μ) ·[p2] diag (fun j => 1 / s j).
  Proof.
    intros i j _ Hj. rewrite product_diag by exact Hj. unfold OneLayer.Xhat, minus, outer, ones, Rdiv. ring.
  Qed.

  Theorem matrix_form_of_yhat : yhat =[N] A ◃[p2] Γ2.
  Proof. reflexivity. Qed.

  (* B = γ ⊙ X̂ + β, in matrices and as (γ ⊗ 1) ⊙ X̂ + (β ⊗ 1), with rows γ and β. *)
  Theorem matrix_form_of_B : B =[N, p2] ones ⊗ᵥ β + (Xhat ·[p2] diag γ).
  Proof. exact (affine_in_matrices N p2 Xhat γ β). Qed.

  Theorem kronecker_form_of_B :
    B =[N, p2] ((column γ) ᵀ ⊗[N, 1] column ones) ⊙ Xhat + ((column β) ᵀ ⊗[N, 1] column ones).
  Proof.
    intros i j _ _. unfold plus, hadamard, kron, transpose, column, ones. rewrite Nat.div_1_r.
    unfold OneLayer.B. ring.
  Qed.

  (* Backward:  S = -(2/N) (ε̂ Γ2ᵀ) ⊙ a'(B), *)
  Theorem matrix_form_of_S : S =[N, p2] (- (2 / INR N) * (e ⊗ᵥ Γ2)) ⊙ (fun i j => a' (B i j)).
  Proof. reflexivity. Qed.

  (* ∂β = 1ᵀ S, *)
  Theorem matrix_form_of_dβ : dβ =[p2] ones ▹[N] S.
  Proof. intros j _. apply sum_ext. intros. unfold ones. ring. Qed.

  (* ∂γ = 1ᵀ (S ⊙ X̂) = diag(X̂ᵀ S), *)
  Theorem matrix_form_of_dγ : dγ =[p2] ones ▹[N] (S ⊙ Xhat).
  Proof. intros j _. apply sum_ext. intros. unfold ones, hadamard. ring. Qed.

  Theorem diagonal_form_of_dγ : dγ =[p2] diagonal (Xhat ᵀ ·[N] S).
  Proof. intros j _. apply sum_ext. intros. unfold transpose. ring. Qed.

  (* ∂Γ2 = -(2/N) Aᵀ ε̂, *)
  Theorem matrix_form_of_dΓ2 : dΓ2 =[p2] (fun j => - (2 / INR N) * (A ᵀ ◃[N] e) j).
  Proof. reflexivity. Qed.

  (* dZ = (γ/s) ⊙ (S - 1 ∂βᵀ/N - X̂ ⊙ ∂γᵀ/(N - ddof)), *)
  Theorem matrix_form_of_dZ :
    dZ =[N, p2] (ones ⊗ᵥ (fun j => γ j / s j))
      ⊙ (S - / INR N * (ones ⊗ᵥ dβ) - / (INR N - ddof) * (Xhat ⊙ (ones ⊗ᵥ dγ))).
  Proof. intros i j _ _. unfold OneLayer.dZ, hadamard, minus, scaled, outer, ones, Rdiv. ring. Qed.

  (* ∂Γ1 = Xᵀ dZ and ∂X = dZ Γ1ᵀ. *)
  Theorem matrix_form_of_dX : dX =[N, p1] dZ ·[p2] Γ1 ᵀ.
  Proof. reflexivity. Qed.

  Theorem matrix_form_of_dΓ1 :
    dΓ1 =[p1, p2] X ᵀ ·[N] ((ones ⊗ᵥ (fun j => γ j / s j))
      ⊙ (S - / INR N * (ones ⊗ᵥ (ones ▹[N] S))
           - / (INR N - ddof) * (Xhat ⊙ (ones ⊗ᵥ diagonal (Xhat ᵀ ·[N] S))))).
  Proof.
    intros k j _ Hj. apply (sum_ext N). intros i Hi. unfold transpose. f_equal. rewrite matrix_form_of_dZ by auto.
    unfold hadamard, minus, scaled, outer. now rewrite <- matrix_form_of_dβ, <- diagonal_form_of_dγ.
  Qed.

  (* The mean of a column of Z is that of X carried through Γ1, and so is what deviates from it. *)

  (* (6.1):  μ = Γ1ᵀ x̄ *)
  Theorem one_pass_mean : μ =[p2] Γ1 ᵀ ◃[p1] xbar.
  Proof.
    intros j _. unfold OneLayer.μ, OneLayer.Z, times, transpose, Forms.xbar. rewrite sum_swap, <- sum_div.
    apply sum_ext. intros k _. rewrite sum_scal_r. unfold Rdiv. ring.
  Qed.

  Lemma one_pass_deviations : Z - ones ⊗ᵥ μ =[N, p2] (X - ones ⊗ᵥ xbar) ·[p1] Γ1.
  Proof.
    intros i j _ Hj. unfold minus, outer, ones, OneLayer.Z, product. rewrite one_pass_mean by exact Hj.
    unfold times, transpose. rewrite <- sum_scal_l, <- sum_minus. apply sum_ext. intros. ring.
  Qed.

  (* (6.2):  s_j² = Γ1_jᵀ C Γ1_j / (N - ddof) + eps *)
  Theorem one_pass_variance :
    variance =[p2] (fun j => (Γ1 ᵀ ·[p1] C ·[p1] Γ1) j j / (INR N - ddof) + eps).
  Proof.
    intros j Hj. unfold OneLayer.variance. do 2 f_equal.
    transitivity ((((X - ones ⊗ᵥ xbar) ·[p1] Γ1) ᵀ ·[N] ((X - ones ⊗ᵥ xbar) ·[p1] Γ1)) j j).
    - apply sum_ext. intros i Hi. unfold transpose. rewrite <- one_pass_deviations by assumption.
      unfold minus, outer, ones. ring.
    - rewrite <- product_assoc. apply (sum_ext p1). intros k _. f_equal. unfold Forms.C.
      rewrite <- product_assoc. apply (sum_ext N). intros i _. f_equal. now rewrite product_transposed.
  Qed.

  Hypothesis rows : INR N <> 0.

  (* (6.3):  Xᵀ X̂ = C Γ1 diag(1/s), for a column of X̂ adds up to 0 *)
  Theorem one_pass_product : X ᵀ ·[N] Xhat =[p1, p2] C ·[p1] Γ1 ·[p2] diag (fun j => 1 / s j).
  Proof.
    intros k j Hk Hj. rewrite product_diag by exact Hj. unfold Forms.C. rewrite product_assoc.
    assert (E : forall i, (i < N)%nat -> ((X - ones ⊗ᵥ xbar) ·[p1] Γ1) i j = Z i j - μ j).
    { intros i Hi. rewrite <- one_pass_deviations by assumption. unfold minus, outer, ones. ring. }
    transitivity (Σ (i < N) ((X i k - xbar k) * (Z i j - μ j) * (1 / s j) + xbar k * (1 / s j) * (Z i j - μ j))).
    - apply sum_ext. intros i _. unfold transpose, OneLayer.Xhat, Rdiv. ring.
    - rewrite sum_plus, sum_scal_l, sum_scal_r, sum_minus, sum_const.
      replace (Σ (i < N) Z i j) with (INR N * μ j) by (unfold OneLayer.μ; field; exact rows).
      rewrite Rminus_diag_eq, Rmult_0_r, Rplus_0_r by reflexivity. f_equal. apply sum_ext. intros i Hi.
      rewrite E by exact Hi. unfold transpose, minus, outer, ones. ring.
  Qed.

  (* (6.4):  ∂Γ1 = (XᵀS - x̄ ∂βᵀ - C Γ1 diag(∂γ / ((N - ddof) s))) diag(γ/s) *)
  Theorem one_pass_gradient :
    dΓ1 =[p1, p2] (X ᵀ ·[N] S - xbar ⊗ᵥ dβ - C ·[p1] Γ1 ·[p2] diag (fun j => dγ j / ((INR N - ddof) * s j)))
      ·[p2] diag (fun j => γ j / s j).
  Proof.
    intros k j Hk Hj. rewrite product_diag by exact Hj. unfold minus. rewrite product_diag by exact Hj.
    pose proof (one_pass_product k j Hk Hj) as E. rewrite product_diag in E by exact Hj.
    unfold OneLayer.dΓ1, OneLayer.dZ.
    rewrite (sum_ext N _ (fun i => γ j / s j * (X i k * S i j) + - (γ j / s j * dβ j / INR N) * X i k
      + - (γ j / s j * dγ j / (INR N - ddof)) * (X i k * Xhat i j))) by (intros; unfold Rdiv; ring).
    rewrite !sum_plus, !sum_scal_l.
    replace (Σ (i < N) X i k * Xhat i j) with ((X ᵀ ·[N] Xhat) k j) by reflexivity.
    replace (Σ (i < N) X i k * S i j) with ((X ᵀ ·[N] S) k j) by reflexivity.
    rewrite E. unfold outer, Forms.xbar, Rdiv. rewrite Rinv_mult. ring.
  Qed.
End Forms.
