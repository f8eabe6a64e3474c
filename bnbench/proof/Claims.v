(* The claims of the question "Matrix form of backpropagation with batch normalization" and of its answer, each proven
   or disproven.  A table at the end says which theorem rules on which claim.

   The loss is the one that the question's formulas and code differentiate, Loss = Σ ε̂² = N R; its stub is
   Q = -2 (ε̂ Γ2ᵀ) ⊙ a'(B), N times the S of OneLayer.  The question's conventions are ddof 1, eps 0 and ReLU; what is
   said of all data is said of any ddof, eps and a.  Where a claim is wrong, a theorem says by how much, or for which
   data, and another that it is wrong for the three rows in Data below.

   The claims about figures are about what the code computes: theorems here say what that is, whatever the data.  That
   none of the printed numbers is the gradient at the question's own data is proven in Figures. *)
From Coq Require Import Reals Lra Lia.
From Coquelicot Require Import Coquelicot.
From bnbench Require Import Sums Layer Dense OneLayer Activations Matrix Kronecker Forms.
Open Scope R_scope.

(* Only one number is the derivative. *)
Lemma derivative_is (f : R -> R) (x l l' : R) : is_derive f x l -> (is_derive f x l' <-> l' = l).
Proof.
  intros H. split; [|now intros ->]. intros H'.
  now rewrite <- (is_derive_unique f x l H), <- (is_derive_unique f x l' H').
Qed.

Definition Loss N p1 p2 ddof eps a X y Γ1 γ β Γ2 : R := Σ (i < N) e N p1 p2 ddof eps a X y Γ1 γ β Γ2 i ^ 2.

(* The question's a, negatives set to 0, and its a', negatives set to 0 and then all that is at least 0 to 1. *)
Definition code_a (v : R) : R := if Rlt_dec v 0 then 0 else v.
Definition code_a' (v : R) : R := let w := if Rlt_dec v 0 then 0 else v in if Rle_dec 0 w then 1 else w.

Lemma code_a_is_relu v : code_a v = relu v.
Proof.
  unfold code_a. destruct (Rlt_dec v 0); [rewrite relu_negative|rewrite relu_positive]; auto; lra.
Qed.

(* (7.1), first half *)
Theorem code_slope_is_one v : code_a' v = 1.
Proof.
  unfold code_a'. destruct (Rlt_dec v 0); cbv zeta.
  - destruct (Rle_dec 0 0); [reflexivity|lra].
  - destruct (Rle_dec 0 v); [reflexivity|lra].
Qed.

Section Claims.
  Variables (N p1 p2 : nat) (ddof eps : R) (a a' : R -> R) (X : matrix) (y : vector).
  Variables (Γ1 : matrix) (γ β Γ2 : vector).

  Notation Z := (Z p1 X Γ1).
  Notation μ := (μ N p1 X Γ1).
  Notation s := (s N p1 ddof eps X Γ1).
  Notation Xhat := (Xhat N p1 ddof eps X Γ1).
  Notation B := (B N p1 ddof eps X Γ1 γ β).
  Notation e := (e N p1 p2 ddof eps a X y Γ1 γ β Γ2).
  Notation dβ := (dβ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation dγ := (dγ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation dΓ1 := (dΓ1 N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation S := (stub N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation Loss Γ1 γ β := (Loss N p1 p2 ddof eps a X y Γ1 γ β Γ2).

  (* Q with any slopes, and with the true ones; w = (γ ⊗ 1) ⊙ σ⁻¹, and what the code has for it. *)
  Definition stub_with (slope : matrix) : matrix := ((-2) * (e ⊗ᵥ Γ2)) ⊙ slope.
  Definition Q : matrix := stub_with (fun i j => a' (B i j)).
  Definition code_Q : matrix := stub_with (fun i j => code_a' (B i j)).
  Definition w : matrix := fun _ j => γ j / s j.
  Definition code_w : matrix := fun _ j => γ j * s j.

  Hypothesis rows : INR N <> 0.

  Lemma Q_is_N_times_S i j : Q i j = INR N * S i j.
  Proof. unfold Q, stub_with, hadamard, scaled, outer, stub. field. exact rows. Qed.

  Lemma loss_is_N_times_risk g c b : Loss g c b = INR N * Risk N p1 p2 ddof eps a X y g c b Γ2.
  Proof. unfold Claims.Loss, Risk. field. exact rows. Qed.

  Lemma sum_Q j : Σ (i < N) Q i j = INR N * dβ j.
  Proof. unfold OneLayer.dβ. rewrite <- sum_scal_l. apply sum_ext. intros. apply Q_is_N_times_S. Qed.

  Lemma sum_Q_Xhat j : Σ (i < N) Q i j * Xhat i j = INR N * dγ j.
  Proof.
    unfold OneLayer.dγ. rewrite <- sum_scal_l. apply sum_ext. intros. rewrite Q_is_N_times_S. ring.
  Qed.

  Hypothesis divisor : INR N - ddof <> 0.
  Hypothesis positive : forall j, (j < p2)%nat -> 0 < variance N p1 ddof eps X Γ1 j.
  Hypothesis differentiable : forall i j, (i < N)%nat -> (j < p2)%nat -> is_derive a (B i j) (a' (B i j)).

  (* The gradient of the loss is N times that of R. *)
  Theorem loss_gradient_β j : (j < p2)%nat ->
    is_derive (fun v => Loss Γ1 γ (set β j v)) (β j) (INR N * dβ j).
  Proof.
    intros Hj. apply (is_derive_ext (fun v => INR N * Risk N p1 p2 ddof eps a X y Γ1 γ (set β j v) Γ2));
      [intros; symmetry; apply loss_is_N_times_risk|].
    apply (is_derive_scal (fun v => Risk N p1 p2 ddof eps a X y Γ1 γ (set β j v) Γ2)). now apply partial_β.
  Qed.

  Theorem loss_gradient_γ j : (j < p2)%nat ->
    is_derive (fun v => Loss Γ1 (set γ j v) β) (γ j) (INR N * dγ j).
  Proof.
    intros Hj. apply (is_derive_ext (fun v => INR N * Risk N p1 p2 ddof eps a X y Γ1 (set γ j v) β Γ2));
      [intros; symmetry; apply loss_is_N_times_risk|].
    apply (is_derive_scal (fun v => Risk N p1 p2 ddof eps a X y Γ1 (set γ j v) β Γ2)). now apply partial_γ.
  Qed.

  Theorem loss_gradient_Γ1 k j : (k < p1)%nat -> (j < p2)%nat ->
    is_derive (fun v => Loss (set2 Γ1 k j v) γ β) (Γ1 k j) (INR N * dΓ1 k j).
  Proof.
    intros Hk Hj. apply (is_derive_ext (fun v => INR N * Risk N p1 p2 ddof eps a X y (set2 Γ1 k j v) γ β Γ2));
      [intros; symmetry; apply loss_is_N_times_risk|].
    apply (is_derive_scal (fun v => Risk N p1 p2 ddof eps a X y (set2 Γ1 k j v) γ β Γ2)). now apply partial_Γ1.
  Qed.

  (* beta-formula, right:  ∂/∂β = 1ᵀ (a'(B) ⊙ -2 ε̂ Γ2ᵀ) *)
  Theorem beta_formula_is_the_gradient j : (j < p2)%nat ->
    is_derive (fun v => Loss Γ1 γ (set β j v)) (β j) ((ones ▹[N] ((fun i j => a' (B i j)) ⊙ ((-2) * (e ⊗ᵥ Γ2)))) j).
  Proof.
    intros Hj. apply (derivative_is _ _ _ _ (loss_gradient_β j Hj)). rewrite <- sum_Q.
    apply sum_ext. intros. unfold Q, stub_with, hadamard, ones. ring.
  Qed.

  (* answer-beta, right:  ∂/∂β = -2 ε̂ᵀ (Γ2ᵀ ⊗ I) J_a (I ⊗ e_N), with e_N the ones and J_a = diag(vec a'(B)) *)
  Theorem answer_beta_is_the_gradient j : (j < p2)%nat ->
    is_derive (fun v => Loss Γ1 γ (set β j v)) (β j)
      ((-2) * (e ▹[N] ((column Γ2) ᵀ ⊗[N, N] I) ▹[p2 * N] diag (vec N (fun i j => a' (B i j)))
               ▹[p2 * N] (I ⊗[N, 1] column ones)) j).
  Proof.
    intros Hj. apply (derivative_is _ _ _ _ (loss_gradient_β j Hj)). rewrite <- sum_Q.
    transitivity ((vec N Q ▹[p2 * N] (I ⊗[N, 1] column ones)) j).
    - unfold row_times at 1 4. rewrite <- sum_scal_l. apply sum_ext. intros c Hc.
      destruct (stacked_bounds N p2 c Hc) as [Hi _]. rewrite row_times_diag by exact Hc.
      replace ((e ▹[N] ((column Γ2) ᵀ ⊗[N, N] I)) c) with (e (c mod N)%nat * Γ2 (c / N)%nat).
      + unfold vec, Q, stub_with, hadamard, scaled, outer. ring.
      + rewrite <- (sum_δ N (fun i => e i * Γ2 (c / N)%nat) _ Hi). apply sum_ext. intros i Hi'.
        unfold kron, transpose, column, I. rewrite (Nat.mod_small i N) by exact Hi'. ring.
    - rewrite vec_product_for_β by exact Hj. apply sum_ext. intros. unfold ones. ring.
  Qed.

  (* answer-gamma, right:  ∂/∂γ = diag((XΓ1 - 1μᵀ)ᵀ W Σ^(-1/2)), with W = Q and Σ^(-1/2) = diag(1/s) *)
  Theorem answer_gamma_is_the_gradient j : (j < p2)%nat ->
    is_derive (fun v => Loss Γ1 (set γ j v) β) (γ j)
      (diagonal (((X ·[p1] Γ1) - ones ⊗ᵥ μ) ᵀ ·[N] Q ·[p2] diag (fun j => 1 / s j)) j).
  Proof.
    intros Hj. apply (derivative_is _ _ _ _ (loss_gradient_γ j Hj)). rewrite <- sum_Q_Xhat.
    unfold diagonal. rewrite product_diag by exact Hj. unfold product at 1. rewrite <- sum_scal_r.
    apply sum_ext. intros i _. unfold transpose, minus, outer, ones, OneLayer.Xhat, Rdiv.
    change ((X ·[p1] Γ1) i j) with (Z i j). ring.
  Qed.

  (* beta-figures, wrong.  (7.1): what the code computes is Σ -2 ε̂ Γ2, whatever B is *)
  Theorem beta_figures_are_without_slopes j : (ones ▹[N] code_Q) j = Σ (i < N) -2 * e i * Γ2 j.
  Proof.
    apply sum_ext. intros. unfold code_Q, stub_with, hadamard, scaled, outer, ones.
    rewrite code_slope_is_one. ring.
  Qed.

  (* and that is the gradient exactly when what the slopes would have taken away adds up to 0. *)
  Theorem beta_figures_right_exactly_when j : (j < p2)%nat ->
    is_derive (fun v => Loss Γ1 γ (set β j v)) (β j) ((ones ▹[N] code_Q) j)
    <-> Σ (i < N) e i * Γ2 j * (1 - a' (B i j)) = 0.
  Proof.
    intros Hj. rewrite (derivative_is _ _ _ _ (loss_gradient_β j Hj)), <- sum_Q, beta_figures_are_without_slopes.
    replace (Σ (i < N) -2 * e i * Γ2 j)
      with ((Σ (i < N) Q i j) + -2 * Σ (i < N) e i * Γ2 j * (1 - a' (B i j))); [split; lra|].
    rewrite <- sum_scal_l, <- sum_plus. apply sum_ext. intros.
    unfold Q, stub_with, hadamard, scaled, outer. ring.
  Qed.

  (* beta-loop, wrong.  Node j of the loop, before its activation: column j of X times Γ1_jj, normalised *)
  Definition loop_B : matrix := fun i j => γ j * Layer.Xhat N ddof eps (fun l => X l j * Γ1 j j) i + β j.
  Definition loop_dβ (slope : R -> R) (j : nat) : R := Σ (i < N) -2 * e i * slope (loop_B i j) * Γ2 j.

  (* With the code's a' it agrees with the code's matrix form, whatever it is fed. *)
  Theorem beta_loop_agrees_whatever_it_is_fed j : loop_dβ code_a' j = (ones ▹[N] code_Q) j.
  Proof.
    rewrite beta_figures_are_without_slopes. apply sum_ext. intros. rewrite code_slope_is_one. ring.
  Qed.

  (* gamma1-loop, vacuous.  (7.3): x_kᵀ diag(w_j) stub_j is entry (k, j) of Xᵀ (stub ⊙ w) for any stub and any w *)
  Theorem gamma1_loop_is_a_matrix_product (anyX any_w any_stub : matrix) k j :
    Σ (i < N) (col anyX k ▹[N] diag (col any_w j)) i * col any_stub j i
    = (anyX ᵀ ·[N] (any_stub ⊙ any_w)) k j.
  Proof.
    apply sum_ext. intros i Hi. rewrite row_times_diag by exact Hi. unfold col, transpose, hadamard. ring.
  Qed.

  (* gamma1-formula, wrong.  (7.2): Xᵀ (Q ⊙ w) differs from the gradient by
     (x̄ ∂βᵀ + C Γ1 diag(∂γ / ((N - ddof) s))) diag(γ/s), what flows through μ and through s. *)
  Definition through_μ_and_s : matrix :=
    (xbar N X ⊗ᵥ (fun j => INR N * dβ j)
     + (C N X ·[p1] Γ1 ·[p2] diag (fun j => INR N * dγ j / ((INR N - ddof) * s j))))
    ·[p2] diag (fun j => γ j / s j).

  Theorem gamma1_formula_differs_by k j : (k < p1)%nat -> (j < p2)%nat ->
    (X ᵀ ·[N] (Q ⊙ w)) k j - INR N * dΓ1 k j = through_μ_and_s k j.
  Proof.
    intros Hk Hj. pose proof (one_pass_gradient N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 rows k j Hk Hj) as E.
    rewrite product_diag in E by exact Hj. unfold minus in E. rewrite product_diag in E by exact Hj.
    rewrite E. unfold through_μ_and_s. rewrite product_diag by exact Hj. unfold plus. rewrite product_diag by exact Hj.
    replace ((X ᵀ ·[N] (Q ⊙ w)) k j) with (γ j / s j * (INR N * (X ᵀ ·[N] S) k j)).
    - unfold outer, Rdiv. ring.
    - unfold product. rewrite <- !sum_scal_l. apply sum_ext. intros. unfold hadamard, w. rewrite Q_is_N_times_S. ring.
  Qed.

  Theorem gamma1_formula_right_exactly_when k j : (k < p1)%nat -> (j < p2)%nat ->
    is_derive (fun v => Loss (set2 Γ1 k j v) γ β) (Γ1 k j) ((X ᵀ ·[N] (Q ⊙ w)) k j) <-> through_μ_and_s k j = 0.
  Proof.
    intros Hk Hj. rewrite (derivative_is _ _ _ _ (loss_gradient_Γ1 k j Hk Hj)).
    rewrite <- gamma1_formula_differs_by by assumption. split; lra.
  Qed.

  (* gamma1-figures, wrong.  The code multiplies by s where its formula divides: s_j² times too much *)
  Theorem gamma1_figures_are_s2_times_the_formula (any_stub : matrix) k j : (j < p2)%nat ->
    (X ᵀ ·[N] (any_stub ⊙ code_w)) k j = s j ^ 2 * (X ᵀ ·[N] (any_stub ⊙ w)) k j.
  Proof.
    intros Hj. assert (0 < s j) by now apply sqrt_lt_R0, positive.
    unfold product. rewrite <- sum_scal_l. apply sum_ext. intros. unfold hadamard, w, code_w. field. lra.
  Qed.

  (* gamma-formula, wrong.  (7.4): diag(X̂ᵀ (Q ⊙ γ)) is γ times the gradient *)
  Definition γ_tilde : matrix := ones ⊗ᵥ γ.

  Theorem gamma_formula_is_gamma_times_the_gradient j :
    diagonal (Xhat ᵀ ·[N] (Q ⊙ γ_tilde)) j = γ j * (INR N * dγ j).
  Proof.
    rewrite <- sum_Q_Xhat, <- sum_scal_l. apply sum_ext. intros.
    unfold transpose, hadamard, γ_tilde, outer, ones. ring.
  Qed.

  Theorem gamma_formula_wrong_exactly_when j : (j < p2)%nat ->
    ~ is_derive (fun v => Loss Γ1 (set γ j v) β) (γ j) (diagonal (Xhat ᵀ ·[N] (Q ⊙ γ_tilde)) j)
    <-> γ j <> 1 /\ dγ j <> 0.
  Proof.
    intros Hj. rewrite (derivative_is _ _ _ _ (loss_gradient_γ j Hj)), gamma_formula_is_gamma_times_the_gradient.
    split.
    - intros H. split; intros E; apply H; rewrite E; ring.
    - intros [H1 H0] E. assert (F : (γ j - 1) * (INR N * dγ j) = 0) by lra.
      apply Rmult_integral in F as [F|F]; [lra|]. apply Rmult_integral in F as [F|F]; auto.
  Qed.

  (* gamma-figures, wrong.  What the code computes is γ_j Σ -2 ε̂ Γ2_j X̂_j, with the factor γ and no slopes *)
  Theorem gamma_figures_are_without_slopes j :
    diagonal (Xhat ᵀ ·[N] (code_Q ⊙ γ_tilde)) j = γ j * Σ (i < N) -2 * e i * Γ2 j * Xhat i j.
  Proof.
    rewrite <- sum_scal_l. apply sum_ext. intros.
    unfold transpose, hadamard, γ_tilde, code_Q, stub_with, hadamard, scaled, outer, ones.
    rewrite code_slope_is_one. ring.
  Qed.

  (* answer-gamma1, wrong: a matrix form there is, of matrices no larger than N p2 and two products with X. *)
  Theorem answer_gamma1_has_a_matrix_form k j : (k < p1)%nat -> (j < p2)%nat ->
    is_derive (fun v => Loss (set2 Γ1 k j v) γ β) (Γ1 k j)
      ((X ᵀ ·[N] (w ⊙ (Q - / INR N * (ones ⊗ᵥ (ones ▹[N] Q))
         - / (INR N - ddof) * (Xhat ⊙ (ones ⊗ᵥ diagonal (Xhat ᵀ ·[N] Q)))))) k j).
  Proof.
    intros Hk Hj. apply (derivative_is _ _ _ _ (loss_gradient_Γ1 k j Hk Hj)).
    unfold OneLayer.dΓ1. rewrite <- sum_scal_l. apply (sum_ext N). intros i _.
    unfold transpose, hadamard at 1, minus, scaled, hadamard, outer. unfold ones at 1 3.
    replace ((ones ▹[N] Q) j) with (INR N * dβ j)
      by (rewrite <- sum_Q; apply sum_ext; intros; unfold ones; ring).
    replace (diagonal ((fun i j => Xhat j i) ·[N] Q) j) with (INR N * dγ j)
      by (rewrite <- sum_Q_Xhat; apply sum_ext; intros; ring).
    rewrite Q_is_N_times_S. unfold w, OneLayer.dZ, Rdiv. ring.
  Qed.
End Claims.

(* kronecker-rule, wrong.  The rule for the derivative of A ⊗ B in A, for A of m rows and n columns and B of p and q:
   (I ⊗ T ⊗ I)(I ⊗ vec B ⊗ I), with the sizes n q, m p and 1, and n, p q and m, and T the commutation matrix. *)
Definition kronecker_rule (m n p q : nat) (B : matrix) : matrix :=
  ((I ⊗[m * p, m * p] commutation m p) ⊗[1, 1] I) ·[n * q * (m * p)] ((I ⊗[q * p, 1] column (vec p B)) ⊗[m, m] I).

Lemma kron_I1 M r c : (M ⊗[1, 1] I) r c = M r c.
Proof. unfold kron, I. now rewrite !Nat.div_1_r, !Nat.mod_1_r, δ_same, Rmult_1_r. Qed.

(* The rule is right, for all sizes and at every A: it is the Jacobian of vec(A ⊗ B) in vec A. *)
Theorem kronecker_rule_is_the_jacobian m n p q A B :
  is_jacobian (n * q * (m * p)) (n * m) (fun x => vec (m * p) (unvec m x ⊗[p, q] B)) (vec m A)
    (kronecker_rule m n p q B).
Proof.
  apply jacobian_linear. intros x r Hr. destruct (stacked_bounds (m * p) (n * q) r Hr) as [H1 H2].
  destruct (stacked_bounds p m (r mod (m * p)) H1) as [Hib Hia].
  destruct (stacked_bounds q n (r / (m * p)) H2) as [Hjb Hja].
  set (J := (r / (m * p))%nat) in *. set (ib := (r mod (m * p) mod p)%nat) in *.
  set (ia := (r mod (m * p) / p)%nat) in *. set (jb := (J mod q)%nat) in *. set (ja := (J / q)%nat) in *.
  assert (EJ : J = (ja * q + jb)%nat) by (symmetry; now apply (stacked_index q n)).
  set (V := (I ⊗[q * p, 1] column (vec p B)) ⊗[m, m] I).
  assert (HV : forall c, V (J * (m * p) + (ib * m + ia))%nat c = δ ja (c / m) * δ ia (c mod m) * B ib jb).
  { intros c. unfold V, kron, I, column.
    replace (J * (m * p) + (ib * m + ia))%nat with ((J * p + ib) * m + ia)%nat by ring.
    rewrite stacked_div, stacked_mod, Nat.div_1_r by exact Hia.
    replace (J * p + ib)%nat with (ja * (q * p) + (jb * p + ib))%nat by (rewrite EJ; ring).
    assert (jb * p + ib < q * p)%nat by now apply stacked_in.
    rewrite stacked_div, stacked_mod by assumption. rewrite vec_entry by exact Hib. ring. }
  assert (HR : forall c, kronecker_rule m n p q B r c = V (J * (m * p) + (ib * m + ia))%nat c).
  { intros c. unfold kronecker_rule. fold V. unfold product.
    transitivity (Σ (k < n * q * (m * p)) (δ J (k / (m * p)) * (δ ia (k mod (m * p) mod m) * δ ib (k mod (m * p) / m)
      * V (k / (m * p) * (m * p) + (k mod (m * p)))%nat c))).
    { apply sum_ext. intros k Hk. rewrite kron_I1, (stacked_index (m * p) (n * q)) by exact Hk.
      unfold kron, commutation, I. fold J ia ib. ring. }
    rewrite (sum_stacked (n * q) (m * p)
      (fun k K => δ J K * (δ ia (k mod m) * δ ib (k / m) * V (K * (m * p) + k)%nat c))).
    transitivity (Σ (K < n * q) (δ J K * Σ (k < m * p) δ ia (k mod m) * δ ib (k / m) * V (K * (m * p) + k)%nat c)).
    { apply sum_ext. intros K _. apply sum_scal_l. }
    rewrite (sum_δ_l (n * q) (fun K => Σ (k < m * p) δ ia (k mod m) * δ ib (k / m) * V (K * (m * p) + k)%nat c))
      by exact H2.
    rewrite (Nat.mul_comm m p) at 1.
    transitivity (Σ (k < p * m) (δ ia (k mod m) * δ ib (k / m) * V (J * (m * p) + (k / m * m + k mod m))%nat c)).
    { apply sum_ext. intros k Hk. now rewrite (stacked_index m p). }
    rewrite (sum_stacked p m (fun i j => δ ia i * δ ib j * V (J * (m * p) + (j * m + i))%nat c)).
    rewrite <- (sum_sum_δ m p ia ib (fun i j => V (J * (m * p) + (j * m + i))%nat c) Hia Hib).
    apply sum_ext. intros j _. apply sum_ext. intros i _. rewrite (δ_sym ia), (δ_sym ib). ring. }
  unfold times.
  rewrite (sum_ext (n * m) _
    (fun c => δ ja (c / m) * δ ia (c mod m) * (B ib jb * x (c / m * m + c mod m)%nat))).
  - rewrite (sum_stacked n m (fun i j => δ ja j * δ ia i * (B ib jb * x (j * m + i)%nat))).
    transitivity (Σ (j < n) Σ (i < m) (δ j ja * δ i ia * (B ib jb * x (j * m + i)%nat))).
    + rewrite (sum_sum_δ m n ia ja (fun i j => B ib jb * x (j * m + i)%nat)) by assumption.
      unfold vec, kron, unvec. fold J ia ib. fold ja jb. ring.
    + apply sum_ext. intros j _. apply sum_ext. intros i _. now rewrite (δ_sym j), (δ_sym i).
  - intros c Hc. rewrite HR, HV, (stacked_index m n) by exact Hc. ring.
Qed.

(* For the row β and the column of ones it is I ⊗ 1_N, a matrix of N p2 rows and p2 columns: ∂vec B/∂β of (5.2). *)
Theorem kronecker_rule_for_β N p2 : kronecker_rule 1 p2 N 1 (column ones) =[p2 * N, p2] I ⊗[N, 1] column ones.
Proof.
  intros r c Hr Hc.
  apply (jacobian_unique (p2 * N) p2 (fun x => vec N (unvec 1 x ⊗[N, 1] column ones)) (vec 1 (fun _ _ => 0))); auto.
  - pose proof (kronecker_rule_is_the_jacobian 1 p2 N 1 (fun _ _ => 0) (column ones)) as H.
    rewrite !Nat.mul_1_r, !Nat.mul_1_l in H. exact H.
  - apply jacobian_linear. intros x l Hl. rewrite kron_I_ones by exact Hl.
    unfold vec, kron, unvec, column, ones. rewrite Nat.div_1_r, Nat.mul_1_r, Rmult_1_r. f_equal.
    destruct (stacked_bounds N p2 l Hl) as [Hi _]. rewrite (Nat.div_small (l mod N) N) by exact Hi. lia.
Qed.

Section KroneckerRule.
  Variables (N p1 p2 : nat) (ddof eps : R) (a a' : R -> R) (X : matrix) (y : vector).
  Variables (Γ1 : matrix) (γ β Γ2 : vector).
  Notation B := (B N p1 ddof eps X Γ1 γ β).
  Notation Q := (Q N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Hypothesis rows : INR N <> 0.
  Hypothesis divisor : INR N - ddof <> 0.
  Hypothesis positive : forall j, (j < p2)%nat -> 0 < variance N p1 ddof eps X Γ1 j.
  Hypothesis differentiable : forall i j, (i < N)%nat -> (j < p2)%nat -> is_derive a (B i j) (a' (B i j)).

  (* It conforms with the row (vec Q)ᵀ of N p2 entries, and their product is the gradient. *)
  Theorem kronecker_rule_gives_the_gradient j : (j < p2)%nat ->
    is_derive (fun v => Loss N p1 p2 ddof eps a X y Γ1 γ (set β j v) Γ2) (β j)
      ((vec N Q ▹[p2 * N] kronecker_rule 1 p2 N 1 (column ones)) j).
  Proof.
    intros Hj. apply (derivative_is _ _ _ _
      (loss_gradient_β N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 rows divisor positive differentiable j Hj)).
    rewrite <- sum_Q by exact rows. transitivity ((vec N Q ▹[p2 * N] (I ⊗[N, 1] column ones)) j).
    - apply sum_ext. intros r Hr. now rewrite kronecker_rule_for_β.
    - rewrite vec_product_for_β by exact Hj. apply sum_ext. intros. unfold ones. ring.
  Qed.
End KroneckerRule.

(* gamma1-formula is exact where μ and σ² are given and do not move with Γ1: with s = sqrt(σ² + eps),
   ∂/∂Γ1 = Xᵀ (Q ⊙ γ/s). *)
Section FrozenClaims.
  Variables (N p1 p2 : nat) (eps : R) (μ σ2 : vector) (a a' : R -> R) (X : matrix) (y : vector).
  Variables (Γ1 : matrix) (γ β Γ2 : vector).
  Notation B := (Frozen.B p1 eps μ σ2 X Γ1 γ β).
  Notation e := (Frozen.e p1 p2 eps μ σ2 a X y).
  Notation Risk Γ1 := (Frozen.Risk N p1 p2 eps μ σ2 a X y Γ1 γ β Γ2).
  Definition frozen_Q : matrix := ((-2) * (e Γ1 γ β Γ2 ⊗ᵥ Γ2)) ⊙ (fun i j => a' (B i j)).
  Definition frozen_w : matrix := fun _ j => γ j / Frozen.s eps σ2 j.
  Definition frozen_Loss (Γ1 : matrix) : R := Σ (i < N) e Γ1 γ β Γ2 i ^ 2.

  Hypothesis rows : INR N <> 0.
  Hypothesis positive : forall j, (j < p2)%nat -> 0 < σ2 j + eps.
  Hypothesis differentiable : forall i j, (i < N)%nat -> (j < p2)%nat -> is_derive a (B i j) (a' (B i j)).

  Theorem gamma1_formula_holds_for_frozen_statistics k j : (k < p1)%nat -> (j < p2)%nat ->
    is_derive (fun v => frozen_Loss (set2 Γ1 k j v)) (Γ1 k j) ((X ᵀ ·[N] (frozen_Q ⊙ frozen_w)) k j).
  Proof.
    intros Hk Hj.
    pose proof (risk_gradient_frozen N p1 p2 eps μ σ2 a a' y (Γ1 k j) (fun i k _ => X i k)
      (fun m l v => set2 Γ1 k j v m l) (fun l _ => γ l) (fun l _ => β l) (fun l _ => Γ2 l) (fun _ _ => 0)
      (fun m l => δ m k * δ l j) (fun _ => 0) (fun _ => 0) (fun _ => 0) rows positive) as H.
    cbv beta in H.
    change (fun m l => set2 Γ1 k j (Γ1 k j) m l) with (set2 Γ1 k j (Γ1 k j)) in H.
    rewrite set2_same, sum_times_δ2, !sum_times_0, sum_times_00, !Rplus_0_r in H by assumption.
    apply (is_derive_ext (fun v => INR N * Risk (set2 Γ1 k j v))).
    { intros v. unfold frozen_Loss, Frozen.Risk. reals. field. exact rows. }
    replace ((X ᵀ ·[N] (frozen_Q ⊙ frozen_w)) k j)
      with (INR N * Frozen.dΓ1 N p1 p2 eps μ σ2 a a' X y Γ1 γ β Γ2 k j).
    - apply (is_derive_scal (fun v => Risk (set2 Γ1 k j v))).
      apply H; auto; try (intros; apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule))).
      intros; apply derive_set2.
    - unfold Frozen.dΓ1. rewrite <- sum_scal_l. apply (sum_ext N). intros i _.
      unfold transpose, hadamard, frozen_Q, frozen_w, scaled, outer, hadamard, Frozen.dZ, Frozen.stub.
      field. split; [|exact rows]. apply Rgt_not_eq, sqrt_lt_R0. now apply positive.
  Qed.
End FrozenClaims.

(* Data that fulfil what is assumed of frozen statistics exist: μ = 0, σ² = 1, eps 0, and a the identity. *)
Example frozen_data_exist (X Γ1 : matrix) (γ β : vector) :
  INR 1 <> 0 /\ (forall j, (j < 1)%nat -> 0 < (fun _ : nat => 1) j + 0) /\
  forall i j, (i < 1)%nat -> (j < 1)%nat -> is_derive identity (Frozen.B 1 0 (fun _ => 0) (fun _ => 1) X Γ1 γ β i j) 1.
Proof.
  split; [simpl; lra|split; [intros; lra|]]. intros. apply derive_identity.
Qed.

(* nobn-gradients, wrong: without normalisation, R = (1/N) Σ ε̂² and V = a(XΓ1). *)
Section PlainClaims.
  Variables (N p1 p2 : nat) (a a' : R -> R) (X : matrix) (y : vector) (Γ1 : matrix) (Γ2 : vector).
  Notation Z := (Z p1 X Γ1).
  Notation V := (Plain.A p1 a X Γ1).
  Notation e := (Plain.e p1 p2 a X y Γ1 Γ2).
  Notation Risk Γ1 Γ2 := (Plain.Risk N p1 p2 a X y Γ1 Γ2).
  Notation dΓ1 := (Plain.dΓ1 N p1 p2 a a' X y Γ1 Γ2).
  Notation dΓ2 := (Plain.dΓ2 N p1 p2 a X y Γ1 Γ2).

  (* What the question has for ∂R/∂Γ1, 2 Vᵀ ε̂, and for ∂R/∂Γ2, Xᵀ (a'(XΓ1) ⊙ 2 ε̂ Γ2ᵀ) *)
  Definition nobn_for_Γ1 : vector := fun j => 2 * (V ᵀ ◃[N] e) j.
  Definition nobn_for_Γ2 : matrix := X ᵀ ·[N] ((fun i j => a' (Z i j)) ⊙ (2 * (e ⊗ᵥ Γ2))).

  Hypothesis rows : INR N <> 0.

  (* (7.5): each is -N times the other's gradient. *)
  Theorem nobn_gradients_are_swapped :
    nobn_for_Γ1 =[p2] (fun j => - INR N * dΓ2 j) /\ nobn_for_Γ2 =[p1, p2] - INR N * dΓ1.
  Proof.
    split.
    - intros j _. unfold nobn_for_Γ1, Plain.dΓ2, times, transpose. field. exact rows.
    - intros k j _ _. unfold nobn_for_Γ2, Plain.dΓ1, scaled, product. rewrite <- sum_scal_l. apply sum_ext. intros.
      unfold transpose, hadamard, scaled, outer, Plain.stub. field. exact rows.
  Qed.

  Hypothesis differentiable : forall i j, (i < N)%nat -> (j < p2)%nat -> is_derive a (Z i j) (a' (Z i j)).

  Lemma plain_partial_Γ2 j : (j < p2)%nat -> is_derive (fun v => Risk Γ1 (set Γ2 j v)) (Γ2 j) (dΓ2 j).
  Proof.
    intros Hj.
    pose proof (risk_gradient_plain N p1 p2 a a' y (Γ2 j) (fun i k _ => X i k) (fun m l _ => Γ1 m l)
      (fun l v => set Γ2 j v l) (fun _ _ => 0) (fun _ _ => 0) (fun l => δ l j) rows differentiable) as H.
    cbv beta in H. change (fun l => set Γ2 j (Γ2 j) l) with (set Γ2 j (Γ2 j)) in H.
    rewrite set_same, !sum_times_00, sum_times_δ, Rplus_0_l, Rplus_0_r in H by assumption.
    apply H; try (intros; apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule))). intros; apply derive_set.
  Qed.

  Lemma plain_partial_Γ1 k j : (k < p1)%nat -> (j < p2)%nat ->
    is_derive (fun v => Risk (set2 Γ1 k j v) Γ2) (Γ1 k j) (dΓ1 k j).
  Proof.
    intros Hk Hj.
    pose proof (risk_gradient_plain N p1 p2 a a' y (Γ1 k j) (fun i k _ => X i k) (fun m l v => set2 Γ1 k j v m l)
      (fun l _ => Γ2 l) (fun _ _ => 0) (fun m l => δ m k * δ l j) (fun _ => 0) rows) as H.
    cbv beta in H. change (fun m l => set2 Γ1 k j (Γ1 k j) m l) with (set2 Γ1 k j (Γ1 k j)) in H.
    rewrite set2_same, sum_times_δ2, sum_times_0, sum_times_00, !Rplus_0_r in H by assumption.
    apply H; auto; try (intros; apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule))).
    intros; apply derive_set2.
  Qed.

  Lemma minus_N_times d : - INR N * d = d <-> d = 0.
  Proof.
    split; [|intros ->; ring]. intros H. assert (P : 0 <= INR N) by apply pos_INR.
    assert (E : (INR N + 1) * d = 0) by lra. apply Rmult_integral in E as [E|E]; lra.
  Qed.

  (* So that, under each other's names, they are right only where the gradient is 0. *)
  Theorem nobn_gradients_right_exactly_when :
    (forall j, (j < p2)%nat ->
      is_derive (fun v => Risk Γ1 (set Γ2 j v)) (Γ2 j) (nobn_for_Γ1 j) <-> dΓ2 j = 0) /\
    (forall k j, (k < p1)%nat -> (j < p2)%nat ->
      is_derive (fun v => Risk (set2 Γ1 k j v) Γ2) (Γ1 k j) (nobn_for_Γ2 k j) <-> dΓ1 k j = 0).
  Proof.
    destruct nobn_gradients_are_swapped as [E1 E2]. split.
    - intros j Hj. rewrite (derivative_is _ _ _ _ (plain_partial_Γ2 j Hj)), E1 by exact Hj. apply minus_N_times.
    - intros k j Hk Hj. rewrite (derivative_is _ _ _ _ (plain_partial_Γ1 k j Hk Hj)), E2 by assumption.
      apply minus_N_times.
  Qed.
End PlainClaims.

(* Three rows for which the wrong claims are wrong: two inputs, one node, ReLU, ddof 1 and eps 0, and no B at the kink.
   Z = (-2, 0, 2), s = 2, X̂ = (-1, 0, 1), B = (-1, 1, 3), ε̂ = (1, 2, 3), Q = (0, -4, -6);
   ∂β = -10, ∂γ = -6, ∂Γ1 = (1, -1) for the loss Σ ε̂². *)
Module Data.
  Definition X : matrix := fun i k =>
    match i, k with
    | 0%nat, 0%nat => 1 | 0%nat, _ => -3
    | 1%nat, 0%nat => -1 | 1%nat, _ => 1
    | _, 0%nat => 0 | _, _ => 2
    end.
  Definition y : vector := fun i => match i with 0%nat => 1 | 1%nat => 3 | _ => 6 end.
  Definition Γ1 : matrix := fun _ _ => 1.
  Definition γ : vector := fun _ => 2.
  Definition β : vector := fun _ => 1.
  Definition Γ2 : vector := fun _ => 1.
End Data.

Section AtData.
  Import Data.
  Notation B := (B 3 2 1 0 X Γ1 γ β).
  Notation e := (e 3 2 1 1 0 relu X y Γ1 γ β Γ2).
  Notation Xhat := (Xhat 3 2 1 0 X Γ1).
  Notation s := (s 3 2 1 0 X Γ1).
  Notation Q := (Q 3 2 1 1 0 relu relu' X y Γ1 γ β Γ2).
  Notation code_Q := (code_Q 3 2 1 1 0 relu X y Γ1 γ β Γ2).
  Notation w := (w 3 2 1 0 X Γ1 γ).
  Notation code_w := (code_w 3 2 1 0 X Γ1 γ).
  Notation loop_B := (loop_B 3 1 0 X Γ1 γ β).
  Notation dβ := (dβ 3 2 1 1 0 relu relu' X y Γ1 γ β Γ2 0).
  Notation dγ := (dγ 3 2 1 1 0 relu relu' X y Γ1 γ β Γ2 0).
  Notation dΓ1 k := (dΓ1 3 2 1 1 0 relu relu' X y Γ1 γ β Γ2 k 0).
  Notation Loss Γ1 γ β := (Loss 3 2 1 1 0 relu X y Γ1 γ β Γ2).

  Ltac three H i := destruct i as [|[|[|i]]]; [| | |exfalso; lia].

  Lemma INR_3 : INR 3 = 3.
  Proof. simpl. ring. Qed.

  Lemma data_rows : INR 3 <> 0.
  Proof. rewrite INR_3. lra. Qed.

  Lemma data_divisor : INR 3 - 1 <> 0.
  Proof. rewrite INR_3. lra. Qed.

  Lemma data_Z : Z 2 X Γ1 0 0 = -2 /\ Z 2 X Γ1 1 0 = 0 /\ Z 2 X Γ1 2 0 = 2.
  Proof. unfold Z, X, Γ1. simpl. repeat split; ring. Qed.

  Lemma data_μ : μ 3 2 X Γ1 0 = 0.
  Proof. destruct data_Z as (E0 & E1 & E2). unfold μ. simpl sum. rewrite E0, E1, E2, INR_3. field. Qed.

  Lemma data_variance : variance 3 2 1 0 X Γ1 0 = 4.
  Proof.
    destruct data_Z as (E0 & E1 & E2). unfold variance. rewrite data_μ. simpl sum. rewrite E0, E1, E2, INR_3. field.
  Qed.

  Lemma data_positive j : (j < 1)%nat -> 0 < variance 3 2 1 0 X Γ1 j.
  Proof. intros H. replace j with 0%nat by lia. rewrite data_variance. lra. Qed.

  Lemma data_s : s 0%nat = 2.
  Proof. unfold OneLayer.s. rewrite data_variance. replace 4 with (2 * 2) by ring. apply sqrt_square. lra. Qed.

  Lemma data_Xhat : Xhat 0%nat 0%nat = -1 /\ Xhat 1%nat 0%nat = 0 /\ Xhat 2%nat 0%nat = 1.
  Proof.
    destruct data_Z as (E0 & E1 & E2). unfold OneLayer.Xhat. rewrite data_μ, data_s, E0, E1, E2.
    repeat split; field.
  Qed.

  Lemma data_B : B 0%nat 0%nat = -1 /\ B 1%nat 0%nat = 1 /\ B 2%nat 0%nat = 3.
  Proof.
    destruct data_Xhat as (E0 & E1 & E2). unfold OneLayer.B. rewrite E0, E1, E2. unfold γ, β. repeat split; ring.
  Qed.

  (* No kink is hit, *)
  Lemma data_off_the_kinks i j : (i < 3)%nat -> (j < 1)%nat -> B i j <> 0.
  Proof.
    intros Hi Hj. replace j with 0%nat by lia. destruct data_B as (E0 & E1 & E2).
    three Hi i; rewrite ?E0, ?E1, ?E2; lra.
  Qed.

  Lemma data_differentiable i j : (i < 3)%nat -> (j < 1)%nat -> is_derive relu (B i j) (relu' (B i j)).
  Proof. intros. now apply derive_relu, data_off_the_kinks. Qed.

  Lemma relu'_right v : 0 < v -> relu' v = 1.
  Proof. intros H. unfold relu'. destruct (Rlt_dec 0 v); [reflexivity|lra]. Qed.

  Lemma relu'_left v : v <= 0 -> relu' v = 0.
  Proof. intros H. unfold relu'. destruct (Rlt_dec 0 v); [lra|reflexivity]. Qed.

  Lemma data_slopes : relu' (B 0%nat 0%nat) = 0 /\ relu' (B 1%nat 0%nat) = 1 /\ relu' (B 2%nat 0%nat) = 1.
  Proof.
    destruct data_B as (E0 & E1 & E2). rewrite E0, E1, E2.
    repeat split; [apply relu'_left|apply relu'_right|apply relu'_right]; lra.
  Qed.

  Lemma data_e : e 0%nat = 1 /\ e 1%nat = 2 /\ e 2%nat = 3.
  Proof.
    destruct data_B as (E0 & E1 & E2). unfold OneLayer.e, OneLayer.yhat, OneLayer.A. simpl sum.
    rewrite E0, E1, E2, relu_negative, !relu_positive by lra. unfold y, Γ2. repeat split; ring.
  Qed.

  Lemma data_Q : Q 0%nat 0%nat = 0 /\ Q 1%nat 0%nat = -4 /\ Q 2%nat 0%nat = -6.
  Proof.
    destruct data_e as (E0 & E1 & E2). destruct data_slopes as (F0 & F1 & F2).
    unfold Claims.Q, stub_with, hadamard, scaled, outer. rewrite E0, E1, E2, F0, F1, F2. unfold Γ2. repeat split; ring.
  Qed.

  Lemma data_code_Q : code_Q 0%nat 0%nat = -2 /\ code_Q 1%nat 0%nat = -4 /\ code_Q 2%nat 0%nat = -6.
  Proof.
    destruct data_e as (E0 & E1 & E2). unfold Claims.code_Q, stub_with, hadamard, scaled, outer.
    rewrite E0, E1, E2, !code_slope_is_one. unfold Γ2. repeat split; ring.
  Qed.

  Lemma data_dβ : INR 3 * dβ = -10.
  Proof.
    destruct data_Q as (E0 & E1 & E2). rewrite <- sum_Q by exact data_rows. simpl sum. rewrite E0, E1, E2. ring.
  Qed.

  Lemma data_dγ : INR 3 * dγ = -6.
  Proof.
    destruct data_Q as (E0 & E1 & E2). destruct data_Xhat as (F0 & F1 & F2).
    rewrite <- sum_Q_Xhat by exact data_rows. simpl sum. rewrite E0, E1, E2, F0, F1, F2. ring.
  Qed.

  Lemma data_dΓ1 : INR 3 * dΓ1 0 = 1 /\ INR 3 * dΓ1 1 = -1.
  Proof.
    destruct data_Q as (E0 & E1 & E2). destruct data_Xhat as (F0 & F1 & F2).
    pose proof data_dβ as Eβ. pose proof data_dγ as Eγ. rewrite INR_3 in *.
    assert (D : forall i, 3 * dZ 3 2 1 1 0 relu relu' X y Γ1 γ β Γ2 i 0 = Q i 0%nat + 10 / 3 + 3 * Xhat i 0%nat).
    { intros i. unfold OneLayer.dZ. rewrite data_s, INR_3, (Q_is_N_times_S _ _ _ _ _ _ _ _ _ _ _ _ _ data_rows), INR_3.
      replace dβ with (-10 / 3) by lra. replace dγ with (-6 / 3) by lra. unfold γ. field. }
    unfold OneLayer.dΓ1. rewrite <- !sum_scal_l.
    rewrite (sum_ext 3 (fun i => 3 * (X i 0%nat * _)) (fun i => X i 0%nat * (Q i 0%nat + 10 / 3 + 3 * Xhat i 0%nat)))
      by (intros; rewrite <- D; ring).
    rewrite (sum_ext 3 (fun i => 3 * (X i 1%nat * _)) (fun i => X i 1%nat * (Q i 0%nat + 10 / 3 + 3 * Xhat i 0%nat)))
      by (intros; rewrite <- D; ring).
    simpl sum. rewrite E0, E1, E2, F0, F1, F2. unfold X. split; field.
  Qed.

  Lemma data_loop_B : loop_B 0%nat 0%nat = 3 /\ loop_B 1%nat 0%nat = -1 /\ loop_B 2%nat 0%nat = 1.
  Proof.
    set (z := fun l : nat => X l 0%nat * Γ1 0%nat 0%nat).
    assert (Em : Layer.μ 3 z = 0).
    { unfold Layer.μ, mean. rewrite INR_3. unfold z, X, Γ1. simpl sum. field. }
    assert (Es : Layer.s 3 1 0 z = 1).
    { unfold Layer.s. replace (Layer.variance 3 1 0 z) with 1; [exact sqrt_1|].
      unfold Layer.variance. rewrite Em, INR_3. unfold z, X, Γ1. simpl sum. field. }
    unfold Claims.loop_B. fold z. unfold Layer.Xhat. rewrite Em, Es. unfold z, X, Γ1, γ, β.
    repeat split; field.
  Qed.

  Notation gradient_β := (loss_gradient_β 3 2 1 1 0 relu relu' X y Γ1 γ β Γ2 data_rows data_divisor data_positive
    data_differentiable 0 ltac:(lia)) (only parsing).
  Notation gradient_γ := (loss_gradient_γ 3 2 1 1 0 relu relu' X y Γ1 γ β Γ2 data_rows data_divisor data_positive
    data_differentiable 0 ltac:(lia)) (only parsing).
  Notation gradient_Γ1 k Hk := (loss_gradient_Γ1 3 2 1 1 0 relu relu' X y Γ1 γ β Γ2 data_rows data_divisor
    data_positive data_differentiable k 0 Hk ltac:(lia)) (only parsing).

  (* beta-figures: -12, not -10 *)
  Theorem beta_figures_are_not_the_gradient :
    ~ is_derive (fun v => Loss Γ1 γ (set β 0 v)) (β 0%nat) ((ones ▹[3] code_Q) 0%nat).
  Proof.
    rewrite (derivative_is _ _ _ _ gradient_β), data_dβ. destruct data_code_Q as (E0 & E1 & E2).
    unfold row_times, ones. simpl sum. rewrite E0, E1, E2. lra.
  Qed.

  (* beta-loop: none of its nodes is the network's, and with the right a' it computes -8, not -10 *)
  Theorem beta_loop_is_not_node_by_node i : (i < 3)%nat -> loop_B i 0%nat <> B i 0%nat.
  Proof.
    intros Hi. destruct data_loop_B as (E0 & E1 & E2). destruct data_B as (F0 & F1 & F2).
    three Hi i; rewrite ?E0, ?E1, ?E2, ?F0, ?F1, ?F2; lra.
  Qed.

  Theorem beta_loop_is_not_the_gradient :
    ~ is_derive (fun v => Loss Γ1 γ (set β 0 v)) (β 0%nat) (loop_dβ 3 2 1 1 0 relu X y Γ1 γ β Γ2 relu' 0).
  Proof.
    rewrite (derivative_is _ _ _ _ gradient_β), data_dβ. unfold loop_dβ. simpl sum.
    destruct data_loop_B as (E0 & E1 & E2). destruct data_e as (F0 & F1 & F2).
    rewrite E0, E1, E2, F0, F1, F2, (relu'_right 3), (relu'_left (-1)), (relu'_right 1) by lra. unfold Γ2. lra.
  Qed.

  (* gamma1-formula: (4, -16), not (1, -1) *)
  Theorem gamma1_formula_is_not_the_gradient k : (k < 2)%nat ->
    ~ is_derive (fun v => Loss (set2 Γ1 k 0 v) γ β) (Γ1 k 0%nat) ((X ᵀ ·[3] (Q ⊙ w)) k 0%nat).
  Proof.
    intros Hk. rewrite (derivative_is _ _ _ _ (gradient_Γ1 k Hk)). destruct data_dΓ1 as [D0 D1].
    destruct data_Q as (E0 & E1 & E2). unfold product, transpose, hadamard, Claims.w. simpl sum.
    rewrite E0, E1, E2, data_s. destruct k as [|[|k]]; [rewrite D0|rewrite D1|lia]; unfold X, γ; lra.
  Qed.

  (* gamma1-figures: (8, -40), not (1, -1) *)
  Theorem gamma1_figures_are_not_the_gradient k : (k < 2)%nat ->
    ~ is_derive (fun v => Loss (set2 Γ1 k 0 v) γ β) (Γ1 k 0%nat) ((X ᵀ ·[3] (code_Q ⊙ code_w)) k 0%nat).
  Proof.
    intros Hk. rewrite (derivative_is _ _ _ _ (gradient_Γ1 k Hk)). destruct data_dΓ1 as [D0 D1].
    destruct data_code_Q as (E0 & E1 & E2). unfold product, transpose, hadamard, Claims.code_w. simpl sum.
    rewrite E0, E1, E2, data_s. destruct k as [|[|k]]; [rewrite D0|rewrite D1|lia]; unfold X, γ; lra.
  Qed.

  (* gamma-formula: -12, not -6 *)
  Theorem gamma_formula_is_not_the_gradient :
    ~ is_derive (fun v => Loss Γ1 (set γ 0 v) β) (γ 0%nat) (diagonal (Xhat ᵀ ·[3] (Q ⊙ γ_tilde γ)) 0%nat).
  Proof.
    rewrite (derivative_is _ _ _ _ gradient_γ), gamma_formula_is_gamma_times_the_gradient by exact data_rows.
    rewrite data_dγ. unfold γ. lra.
  Qed.

  (* gamma-figures: -8, not -6 *)
  Theorem gamma_figures_are_not_the_gradient :
    ~ is_derive (fun v => Loss Γ1 (set γ 0 v) β) (γ 0%nat) (diagonal (Xhat ᵀ ·[3] (code_Q ⊙ γ_tilde γ)) 0%nat).
  Proof.
    rewrite (derivative_is _ _ _ _ gradient_γ), gamma_figures_are_without_slopes, data_dγ.
    destruct data_e as (E0 & E1 & E2). destruct data_Xhat as (F0 & F1 & F2). simpl sum.
    rewrite E0, E1, E2, F0, F1, F2. unfold γ, Γ2. lra.
  Qed.
End AtData.

(* Two rows without normalisation, X = (1, 2), one input, one node, Γ1 = 1, Γ2 = 3, y = (4, 8), where all shapes are the
   same, so that the claimed gradients can be held against the parameters they are claimed for: 2 Vᵀ ε̂ = 10 for
   ∂R/∂Γ1, which is -15, and Xᵀ (a' ⊙ 2 ε̂ Γ2ᵀ) = 30 for ∂R/∂Γ2, which is -5. *)
Module PlainData.
  Definition X : matrix := fun i _ => INR i + 1.
  Definition y : vector := fun i => 4 * (INR i + 1).
  Definition Γ1 : matrix := fun _ _ => 1.
  Definition Γ2 : vector := fun _ => 3.
End PlainData.

Section PlainAtData.
  Import PlainData.
  Notation Risk Γ1 Γ2 := (Plain.Risk 2 1 1 relu X y Γ1 Γ2).

  Lemma plain_data_differentiable i j : (i < 2)%nat -> (j < 1)%nat ->
    is_derive relu (Z 1 X Γ1 i j) (relu' (Z 1 X Γ1 i j)).
  Proof.
    intros _ _. apply derive_relu. unfold Z, X, Γ1. simpl sum. pose proof (pos_INR i). lra.
  Qed.

  Lemma plain_data_letters i : Plain.A 1 relu X Γ1 i 0 = INR i + 1 /\ relu' (Z 1 X Γ1 i 0) = 1
    /\ Plain.e 1 1 relu X y Γ1 Γ2 i = INR i + 1.
  Proof.
    pose proof (pos_INR i). assert (EZ : Z 1 X Γ1 i 0 = INR i + 1) by (unfold Z, X, Γ1; simpl sum; ring).
    assert (EA : Plain.A 1 relu X Γ1 i 0 = INR i + 1) by (unfold Plain.A; rewrite EZ; apply relu_positive; lra).
    repeat split; [exact EA|rewrite EZ; apply relu'_right; lra|].
    unfold Plain.e, Plain.yhat. simpl sum. rewrite EA. unfold y, Γ2. ring.
  Qed.

  Theorem nobn_gradients_are_not_the_gradients :
    ~ is_derive (fun v => Risk (set2 Γ1 0 0 v) Γ2) (Γ1 0%nat 0%nat) (nobn_for_Γ1 2 1 1 relu X y Γ1 Γ2 0%nat) /\
    ~ is_derive (fun v => Risk Γ1 (set Γ2 0 v)) (Γ2 0%nat) (nobn_for_Γ2 2 1 1 relu relu' X y Γ1 Γ2 0%nat 0%nat).
  Proof.
    assert (H2 : INR 2 <> 0) by (simpl; lra).
    assert (E : forall i, _) by exact plain_data_letters.
    destruct (E 0%nat) as (A0 & S0 & e0). destruct (E 1%nat) as (A1 & S1 & e1).
    rewrite (derivative_is _ _ _ _ (plain_partial_Γ1 2 1 1 relu relu' X y Γ1 Γ2 H2 plain_data_differentiable 0 0
      ltac:(lia) ltac:(lia))).
    rewrite (derivative_is _ _ _ _ (plain_partial_Γ2 2 1 1 relu relu' X y Γ1 Γ2 H2 plain_data_differentiable 0
      ltac:(lia))).
    split.
    - unfold nobn_for_Γ1, times, transpose, Plain.dΓ1, Plain.stub. simpl sum. rewrite A0, A1, e0, e1, S0, S1.
      unfold X, Γ2. simpl. lra.
    - unfold nobn_for_Γ2, product, hadamard, scaled, outer, transpose, Plain.dΓ2. simpl sum.
      rewrite A0, A1, e0, e1, S0, S1. unfold X, Γ2. simpl. lra.
  Qed.
End PlainAtData.

(* Claim: the theorems that rule on it, in this file or in Figures; a claim may have several lines.

   beta-formula: beta_formula_is_the_gradient
   beta-figures: code_slope_is_one, beta_figures_are_without_slopes
   beta-figures: beta_figures_right_exactly_when, beta_figures_are_not_the_gradient
   beta-figures: Figures.printed_β_are_not_the_gradient, Figures.printed_β_are_what_the_code_computes
   beta-loop: beta_loop_agrees_whatever_it_is_fed, beta_loop_is_not_node_by_node, beta_loop_is_not_the_gradient
   gamma1-formula: gamma1_formula_differs_by, gamma1_formula_right_exactly_when
   gamma1-formula: gamma1_formula_is_not_the_gradient, gamma1_formula_holds_for_frozen_statistics
   gamma1-figures: gamma1_figures_are_s2_times_the_formula, gamma1_figures_are_not_the_gradient
   gamma1-figures: Figures.printed_Γ1_are_not_the_gradient, Figures.printed_Γ1_are_what_the_code_computes
   gamma1-loop: gamma1_loop_is_a_matrix_product
   gamma-formula: gamma_formula_is_gamma_times_the_gradient, gamma_formula_wrong_exactly_when
   gamma-formula: gamma_formula_is_not_the_gradient
   gamma-figures: gamma_figures_are_without_slopes, gamma_figures_are_not_the_gradient
   gamma-figures: Figures.printed_γ_are_not_the_gradient, Figures.printed_γ_are_what_the_code_computes
   nobn-gradients: nobn_gradients_are_swapped, nobn_gradients_right_exactly_when, nobn_gradients_are_not_the_gradients
   answer-beta: answer_beta_is_the_gradient
   answer-gamma: answer_gamma_is_the_gradient
   answer-gamma1: answer_gamma1_has_a_matrix_form
   kronecker-rule: kronecker_rule_is_the_jacobian, kronecker_rule_for_β, kronecker_rule_gives_the_gradient
*)
