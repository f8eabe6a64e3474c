(* The gradient in vec and ⊗ form: every Jacobian of the layer, what comes out when they are multiplied, and that it is
   the gradient of OneLayer.  The numbers (5.1) to (5.11) are those of the derivation.

   vec stacks columns: entry (i, j) of a matrix of N rows is entry j N + i of its vec.  M ⊗[m, n] P is the Kronecker
   product with a P of m rows and n columns.  A Jacobian J of f at v says how f moves along every curve through v: by
   J times the curve's direction.  Its entries are the partial derivatives (jacobian_partial), and no f has two at one
   v (jacobian_unique).

   vec_of_product              (5.1)   vec(P M Q) = (Qᵀ ⊗ P) vec M
   jacobian_of_B_in_β          (5.2)   I ⊗ 1
   jacobian_of_B_in_γ          (5.3)   (I ⊗ X̂) K, with the selection matrix K
   jacobian_of_B_in_Xhat       (5.4)   diag(γ) ⊗ I
   jacobian_of_Xhat_in_Z       (5.5)   blockdiag_j (1/s_j) (I - 11ᵀ/N - x̂_j x̂_jᵀ/(N - ddof))
   jacobian_of_Z_in_Γ1         (5.6)   I ⊗ X; jacobian_of_Z_in_X: Γ1ᵀ ⊗ I
   jacobian_of_R_in_B          (5.7)   -(2/N) ε̂ᵀ (Γ2ᵀ ⊗ I) J_a, and vec_of_stub: that is (vec S)ᵀ
   vec_product_for_β           (5.8)   (vec S)ᵀ (I ⊗ 1) = 1ᵀ S
   vec_product_for_γ           (5.9)   (vec S)ᵀ (I ⊗ X̂) K = diag(X̂ᵀ S)ᵀ
   vec_product_for_Γ1          (5.10)  (vec S)ᵀ (diag(γ) ⊗ I) ∂vec X̂/∂vec Z (I ⊗ X) = (vec Xᵀ dZ)ᵀ
   commutation_transposes      (5.11)  K vec M = vec Mᵀ, with the commutation matrix K
   kronecker_gradient_of_Γ1, ..._of_X, ..._of_β, ..._of_γ: with them R has the gradients of OneLayer *)
From Coq Require Import Reals Lra Lia Arith FunctionalExtensionality.
From Coquelicot Require Import Coquelicot.
From bnbench Require Import Sums Layer Dense OneLayer Matrix.
Open Scope R_scope.

Definition vec (N : nat) (M : matrix) : vector := fun r => M (r mod N)%nat (r / N)%nat.
Definition unvec (N : nat) (v : vector) : matrix := fun i j => v (j * N + i)%nat.
Definition kron (m n : nat) (M P : matrix) : matrix :=
  fun r c => M (r / m)%nat (c / n)%nat * P (r mod m)%nat (c mod n)%nat.
Definition khatri_rao (m : nat) (M P : matrix) : matrix := fun r c => M (r / m)%nat c * P (r mod m)%nat c.
Notation "M ⊗[ m , n ] P" := (kron m n M P) (at level 40, left associativity, format "M  ⊗[ m ,  n ]  P").

(* The matrix of blocks block 0, block 1, … of N rows and columns along the diagonal, and 0 elsewhere. *)
Definition blockdiag (N : nat) (block : nat -> matrix) : matrix :=
  fun r c => δ (r / N) (c / N) * block (r / N)%nat (r mod N)%nat (c mod N)%nat.

(* J, of m rows and n columns, is the Jacobian of f at v. *)
Definition is_jacobian (m n : nat) (f : vector -> vector) (v : vector) (J : matrix) : Prop :=
  forall (x : nat -> R -> R) (x' : vector) (t0 : R),
    (fun c => x c t0) = v -> (forall c, (c < n)%nat -> is_derive (x c) t0 (x' c)) ->
    forall r, (r < m)%nat -> is_derive (fun t => f (fun c => x c t) r) t0 ((J ◃[n] x') r).

(* Indices of a stacked vector. *)
Lemma stacked_div N i j : (i < N)%nat -> ((j * N + i) / N = j)%nat.
Proof. intros H. rewrite Nat.div_add_l by lia. rewrite Nat.div_small by exact H. lia. Qed.

Lemma stacked_mod N i j : (i < N)%nat -> ((j * N + i) mod N = i)%nat.
Proof. intros H. rewrite Nat.add_comm, Nat.mod_add by lia. now apply Nat.mod_small. Qed.

Lemma stacked_in N p i j : (i < N)%nat -> (j < p)%nat -> (j * N + i < p * N)%nat.
Proof. intros Hi Hj. assert (S j * N <= p * N)%nat by (apply Nat.mul_le_mono_r; lia). simpl in *. lia. Qed.

Lemma stacked_bounds N p r : (r < p * N)%nat -> (r mod N < N)%nat /\ (r / N < p)%nat.
Proof.
  intros H. assert (N <> 0)%nat by (intros ->; lia).
  split; [now apply Nat.mod_upper_bound|]. apply Nat.div_lt_upper_bound; lia.
Qed.

Lemma stacked_index N p r : (r < p * N)%nat -> (r / N * N + r mod N = r)%nat.
Proof. intros H. assert (N <> 0)%nat by (intros ->; lia). rewrite (Nat.div_mod r N) at 3; lia. Qed.

Lemma vec_entry N M i j : (i < N)%nat -> vec N M (j * N + i)%nat = M i j.
Proof. intros H. unfold vec. now rewrite stacked_div, stacked_mod. Qed.

Lemma vec_unvec N p v : vec N (unvec N v) =[p * N] v.
Proof. intros r H. unfold vec, unvec. now rewrite (stacked_index N p). Qed.

(* Equal matrices have equal vecs. *)
Lemma vec_ext N p M P : M =[N, p] P -> vec N M =[p * N] vec N P.
Proof. intros E r H. unfold vec. apply E; now apply (stacked_bounds N p). Qed.

(* A sum over a stacked vector goes over the columns, and over the rows of each. *)
Lemma sum_append m n u : sum (m + n) u = sum m u + Σ (i < n) u (m + i)%nat.
Proof.
  induction n as [|n IH]; simpl; [rewrite Nat.add_0_r; ring|].
  rewrite Nat.add_succ_r. simpl. rewrite IH. ring.
Qed.

Lemma sum_stacked p N (u : nat -> nat -> R) :
  Σ (r < p * N) u (r mod N)%nat (r / N)%nat = Σ (j < p) Σ (i < N) u i j.
Proof.
  induction p as [|p IH]; [reflexivity|].
  replace (S p * N)%nat with (p * N + N)%nat by (simpl; lia).
  rewrite sum_append, IH. simpl. f_equal. apply sum_ext. intros i H.
  now rewrite stacked_div, stacked_mod.
Qed.

(* vᵀ M for a stacked v, by columns and rows. *)
Lemma row_times_vec p N S M c :
  (vec N S ▹[p * N] M) c = Σ (j < p) Σ (i < N) S i j * M (j * N + i)%nat c.
Proof.
  unfold row_times. rewrite <- (sum_stacked p N (fun i j => S i j * M (j * N + i)%nat c)).
  apply sum_ext. intros r H. now rewrite (stacked_index N p).
Qed.

(* Sums over one entry of a δ of indices. *)
Lemma sum_sum_δ n p i j (u : nat -> nat -> R) : (i < n)%nat -> (j < p)%nat ->
  Σ (k < p) Σ (l < n) (δ k j * δ l i * u l k) = u i j.
Proof.
  intros Hi Hj. rewrite <- (sum_δ p (fun k => u i k) j Hj). apply sum_ext. intros k _.
  rewrite <- (sum_δ n (fun l => u l k) i Hi). rewrite <- sum_scal_l. apply sum_ext. intros. ring.
Qed.

(* (5.1) *)
Theorem vec_of_product m n p q P M Q :
  vec m (P ·[n] M ·[p] Q) =[q * m] (Q ᵀ ⊗[m, n] P) ◃[p * n] vec n M.
Proof.
  intros r H. unfold vec, times, kron, transpose, product.
  rewrite (sum_stacked p n (fun l k => Q k (r / m)%nat * P (r mod m)%nat l * M l k)).
  apply sum_ext. intros k _. rewrite <- sum_scal_r. apply sum_ext. intros. ring.
Qed.

(* (5.11): the permutation that brings vec M, M of m rows and n columns, into the order of vec Mᵀ. *)
Definition commutation (m n : nat) : matrix := fun r c => δ (r / n) (c mod m) * δ (r mod n) (c / m).

Theorem commutation_transposes m n M :
  commutation m n ◃[n * m] vec m M =[m * n] vec n (M ᵀ).
Proof.
  intros r H. destruct (stacked_bounds n m r H) as [Hj Hi]. unfold times, commutation, vec, transpose.
  rewrite (sum_stacked n m (fun i j => δ (r / n) i * δ (r mod n) j * M i j)).
  rewrite <- (sum_sum_δ m n (r / n) (r mod n) M Hi Hj).
  apply sum_ext. intros j _. apply sum_ext. intros i _. rewrite (δ_sym (r / n)), (δ_sym (r mod n)). ring.
Qed.

(* The selection matrix K of p² rows and p columns: a 1 in row j p + j of column j, counted from 0. *)
Definition selection (p : nat) : matrix := fun r c => δ r (c * p + c).

Lemma stacked_δ N p r i j : (r < p * N)%nat -> (i < N)%nat -> δ r (j * N + i) = δ (r / N) j * δ (r mod N) i.
Proof.
  intros H Hi. destruct (Nat.eq_dec r (j * N + i)) as [->|E].
  - now rewrite stacked_div, stacked_mod, !δ_same by exact Hi; ring.
  - rewrite δ_other by exact E. destruct (Nat.eq_dec (r / N) j) as [<-|Ej]; [|rewrite δ_other by exact Ej; ring].
    destruct (Nat.eq_dec (r mod N) i) as [<-|Ei]; [|rewrite (δ_other _ _ Ei); ring].
    now rewrite (stacked_index N p) in E.
Qed.

(* vec diag(γ) = K γ *)
Lemma selection_of_diagonal p γ : vec p (diag γ) =[p * p] selection p ◃[p] γ.
Proof.
  intros r H. destruct (stacked_bounds p p r H) as [Hi Hj]. unfold vec, diag, times, selection.
  rewrite (sum_ext p _ (fun c => δ c (r / p) * (δ c (r mod p) * γ c))).
  - rewrite sum_δ by exact Hj. now rewrite δ_sym.
  - intros c Hc. rewrite (stacked_δ p p) by assumption. rewrite (δ_sym (r / p)), (δ_sym (r mod p)). ring.
Qed.

(* Of the columns of I ⊗ M the selection keeps those of the column-wise (Khatri-Rao) product of I and M. *)
Lemma selection_of_columns N p M : (I ⊗[N, p] M) ·[p * p] selection p =[p * N, p] khatri_rao N I M.
Proof.
  intros r c _ Hc. unfold product, kron, selection, khatri_rao.
  rewrite (sum_ext (p * p) _ (fun k => δ (k / p) c * δ (k mod p) c
    * (I (r / N)%nat (k / p)%nat * M (r mod N)%nat (k mod p)%nat)))
    by (intros k Hk; rewrite (stacked_δ p p) by assumption; ring).
  rewrite (sum_stacked p p (fun l k => δ k c * δ l c * (I (r / N)%nat k * M (r mod N)%nat l))).
  now rewrite (sum_sum_δ p p c c (fun l k => I (r / N)%nat k * M (r mod N)%nat l)).
Qed.

(* Jacobians.  No f has two at one v. *)
Lemma derive_line c k t : is_derive (fun x => c + k * x) t k.
Proof. auto_derive; [easy|ring]. Qed.

Lemma jacobian_unique m n f v J K : is_jacobian m n f v J -> is_jacobian m n f v K -> J =[m, n] K.
Proof.
  intros HJ HK r c Hr Hc.
  set (x := fun i t => v i + δ i c * t).
  assert (E : (fun i => x i 0) = v).
  { apply functional_extensionality. intros i. unfold x. ring. }
  assert (D : forall i, (i < n)%nat -> is_derive (x i) 0 (δ i c)) by (intros; apply derive_line).
  rewrite <- (sum_δ_r n (J r) c Hc), <- (sum_δ_r n (K r) c Hc).
  transitivity (Derive (fun t => f (fun i => x i t) r) 0); [symmetry|]; apply is_derive_unique.
  - exact (HJ x (fun i => δ i c) 0 E D r Hr).
  - exact (HK x (fun i => δ i c) 0 E D r Hr).
Qed.

(* Entry (r, c) of a Jacobian is the partial derivative ∂f_r/∂v_c. *)
Lemma jacobian_partial m n f v J r c : is_jacobian m n f v J -> (r < m)%nat -> (c < n)%nat ->
  is_derive (fun t => f (fun i => v i + δ i c * t) r) 0 (J r c).
Proof.
  intros H Hr Hc. rewrite <- (sum_δ_r n (J r) c Hc).
  apply (H (fun i t => v i + δ i c * t) (fun i => δ i c)); [|intros; apply derive_line|exact Hr].
  apply functional_extensionality. intros i. ring.
Qed.

(* The chain rule: Jacobians multiply. *)
Lemma jacobian_chain m p n f g v J K :
  is_jacobian p n f v J -> is_jacobian m p g (f v) K -> is_jacobian m n (fun x => g (f x)) v (K ·[p] J).
Proof.
  intros HJ HK x x' t0 E D r Hr.
  replace ((K ·[p] J ◃[n] x') r) with ((K ◃[p] (J ◃[n] x')) r)
    by (symmetry; apply (product_assoc p n K J (column x') r 0%nat)).
  apply (HK (fun i t => f (fun c => x c t) i) (J ◃[n] x') t0); [now rewrite E| |exact Hr].
  intros i Hi. now apply (HJ x x' t0).
Qed.

Lemma jacobian_ext m n f v J K : J =[m, n] K -> is_jacobian m n f v J -> is_jacobian m n f v K.
Proof.
  intros E H x x' t0 Ex D r Hr. replace ((K ◃[n] x') r) with ((J ◃[n] x') r); [now apply (H x x' t0)|].
  apply sum_ext. intros c Hc. now rewrite E.
Qed.

(* What is linear but for a constant has its matrix for Jacobian, everywhere. *)
Lemma jacobian_affine m n f w J v : (forall x r, (r < m)%nat -> f x r = (J ◃[n] x) r + w r) -> is_jacobian m n f v J.
Proof.
  intros H x x' t0 _ D r Hr.
  apply (is_derive_ext (fun t => (J ◃[n] (fun c => x c t)) r + w r)); [intros; now rewrite H|].
  replace ((J ◃[n] x') r) with ((J ◃[n] x') r + 0) by ring.
  apply (is_derive_plus (K := R_AbsRing) (V := R_NormedModule));
    [|apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule))].
  apply (derive_sum n (fun c t => J r c * x c t)). intros c Hc.
  apply (is_derive_scal (x c) t0 (J r c)). now apply D.
Qed.

Lemma jacobian_linear m n f J v : (forall x, f x =[m] J ◃[n] x) -> is_jacobian m n f v J.
Proof. intros H. apply (jacobian_affine m n f (fun _ => 0)). intros. rewrite H by assumption. ring. Qed.

(* B = γ ⊙ X̂ + β, of X̂ with N rows and p columns; in matrices 1 βᵀ + X̂ diag(γ). *)
Definition affine (Xh : matrix) (γ β : vector) : matrix := fun i j => γ j * Xh i j + β j.

Lemma affine_in_matrices N p Xh γ β : affine Xh γ β =[N, p] ones ⊗ᵥ β + (Xh ·[p] diag γ).
Proof. intros i j _ H. unfold affine, plus, outer, ones. rewrite product_diag by exact H. ring. Qed.

Section Affine.
  Variables (N p : nat) (Xh : matrix) (γ β : vector).

  Lemma kron_I_ones v r : (r < p * N)%nat -> ((I ⊗[N, 1] column ones) ◃[p] v) r = v (r / N)%nat.
  Proof.
    intros H. destruct (stacked_bounds N p r H) as [Hi Hj].
    rewrite <- (sum_δ_l p v _ Hj). apply sum_ext. intros c _.
    unfold kron, column, ones, I. rewrite Nat.div_1_r. ring.
  Qed.

  (* (5.2) *)
  Theorem jacobian_of_B_in_β :
    is_jacobian (p * N) p (fun β => vec N (affine Xh γ β)) β (I ⊗[N, 1] column ones).
  Proof.
    apply (jacobian_affine _ _ _ (vec N (fun i j => γ j * Xh i j))). intros x r H. rewrite kron_I_ones by exact H.
    unfold vec, affine. ring.
  Qed.

  (* (5.3) *)
  Theorem jacobian_of_B_in_γ :
    is_jacobian (p * N) p (fun γ => vec N (affine Xh γ β)) γ ((I ⊗[N, p] Xh) ·[p * p] selection p).
  Proof.
    apply (jacobian_affine _ _ _ (vec N (ones ⊗ᵥ β))). intros x r H.
    destruct (stacked_bounds N p r H) as [Hi Hj].
    unfold times. rewrite (sum_ext p _ (fun c => δ (r / N) c * (Xh (r mod N)%nat c * x c)))
      by (intros c Hc; rewrite (selection_of_columns N p Xh r c H Hc); unfold khatri_rao, I; ring).
    rewrite (sum_δ_l p (fun c => Xh (r mod N)%nat c * x c)) by exact Hj.
    unfold vec, affine, outer, ones. ring.
  Qed.

  (* (5.4) *)
  Theorem jacobian_of_B_in_Xhat :
    is_jacobian (p * N) (p * N) (fun x => vec N (affine (unvec N x) γ β)) (vec N Xh) (diag γ ⊗[N, N] I).
  Proof.
    apply (jacobian_affine _ _ _ (vec N (ones ⊗ᵥ β))). intros x r H.
    destruct (stacked_bounds N p r H) as [Hi Hj].
    unfold times. rewrite (sum_ext (p * N) _ (fun c => δ r c * (γ (r / N)%nat * x c))).
    - rewrite (sum_δ_l (p * N) (fun c => γ (r / N)%nat * x c)) by exact H.
      unfold vec, affine, outer, ones, unvec.
      rewrite (stacked_index N p) by exact H. ring.
    - intros c Hc. destruct (stacked_bounds N p c Hc) as [Hi' _].
      rewrite <- (stacked_index N p c Hc) at 3. rewrite (stacked_δ N p r) by assumption.
      unfold kron, diag, I.
      destruct (Nat.eq_dec (r / N) (c / N)) as [<-|E]; [|rewrite (δ_other _ _ E)]; ring.
  Qed.
End Affine.

(* A column of X̂ moves with the same column of Z. *)
Section Normalised.
  Variables (N p : nat) (ddof eps : R).

  Definition normalised (Z : matrix) : matrix := fun i j => Layer.Xhat N ddof eps (col Z j) i.

  (* (1/s_j) (I - 11ᵀ/N - x̂_j x̂_jᵀ/(N - ddof)) *)
  Definition block (Z : matrix) (j : nat) : matrix :=
    / Layer.s N ddof eps (col Z j) *
    (I - / INR N * (ones ⊗ᵥ ones) - / (INR N - ddof) * (col (normalised Z) j ⊗ᵥ col (normalised Z) j)).

  Lemma block_entry Z j i l : block Z j i l
    = / Layer.s N ddof eps (col Z j)
      * (δ i l - / INR N - / (INR N - ddof) * (normalised Z i j * normalised Z l j)).
  Proof. unfold block, scaled, minus, outer, ones, I. unfold col at 2 3. ring. Qed.

  Variable Z : matrix.
  Hypothesis rows : INR N <> 0.
  Hypothesis divisor : INR N - ddof <> 0.
  Hypothesis positive : forall j, (j < p)%nat -> 0 < Layer.variance N ddof eps (col Z j).

  Lemma column_ext (u v : vector) : u =[N] v ->
    Layer.s N ddof eps u = Layer.s N ddof eps v
    /\ (forall i, (i < N)%nat -> Layer.Xhat N ddof eps u i = Layer.Xhat N ddof eps v i)
    /\ Layer.variance N ddof eps u = Layer.variance N ddof eps v.
  Proof.
    intros E. assert (Em : Layer.μ N u = Layer.μ N v) by (unfold Layer.μ, mean; now rewrite (sum_ext N u v E)).
    assert (Ev : Layer.variance N ddof eps u = Layer.variance N ddof eps v).
    { unfold Layer.variance. rewrite Em. do 2 f_equal. apply sum_ext. intros i Hi. now rewrite E. }
    assert (Es : Layer.s N ddof eps u = Layer.s N ddof eps v) by (unfold Layer.s; now rewrite Ev).
    repeat split; auto. intros i Hi. unfold Layer.Xhat. now rewrite Em, Es, E.
  Qed.

  Lemma col_unvec_vec j : col (unvec N (vec N Z)) j =[N] col Z j.
  Proof. intros i H. unfold col, unvec. now apply vec_entry. Qed.

  (* (5.5) *)
  Theorem jacobian_of_Xhat_in_Z :
    is_jacobian (p * N) (p * N) (fun z => vec N (normalised (unvec N z))) (vec N Z) (blockdiag N (block Z)).
  Proof.
    intros x x' t0 E D r H. destruct (stacked_bounds N p r H) as [Hi Hj].
    set (i := (r mod N)%nat) in *. set (j := (r / N)%nat) in *.
    set (z := fun l t => x (j * N + l)%nat t). set (z' := fun l => x' (j * N + l)%nat).
    assert (Ez : (fun l => z l t0) =[N] col Z j).
    { intros l Hl. unfold z. change (x (j * N + l)%nat t0) with ((fun c => x c t0) (j * N + l)%nat).
      rewrite E. now rewrite vec_entry. }
    destruct (column_ext _ _ Ez) as (Es & EX & Ev).
    assert (Dz : forall l, (l < N)%nat -> is_derive (z l) t0 (z' l)).
    { intros l Hl. apply D. now apply stacked_in. }
    assert (P : 0 < Layer.variance N ddof eps (fun l => z l t0)) by (rewrite Ev; now apply positive).
    assert (Ps : 0 < Layer.s N ddof eps (fun l => z l t0)) by now apply sqrt_lt_R0.
    replace ((blockdiag N (block Z) ◃[p * N] x') r) with (Layer.Xhat' N ddof eps t0 z z' i).
    - exact (derive_Xhat N ddof eps t0 z z' rows divisor P Dz i Hi).
    - unfold times, blockdiag. fold i j.
      rewrite (sum_ext (p * N) _ (fun c => δ j (c / N) * block Z j i (c mod N)%nat * x' (c / N * N + c mod N)%nat))
        by (intros c Hc; now rewrite (stacked_index N p)).
      rewrite (sum_stacked p N (fun l k => δ j k * block Z j i l * x' (k * N + l)%nat)).
      rewrite (sum_ext p _ (fun k => δ j k * Σ (l < N) block Z j i l * x' (k * N + l)%nat))
        by (intros; rewrite <- sum_scal_l; apply sum_ext; intros; ring).
      rewrite (sum_δ_l p (fun k => Σ (l < N) block Z j i l * x' (k * N + l)%nat)) by exact Hj.
      change (Σ (l < N) block Z j i l * x' (j * N + l)%nat) with (Σ (l < N) block Z j i l * z' l).
      unfold Xhat', s'. rewrite Es, EX by exact Hi.
      rewrite (sum_ext N (fun l => Layer.Xhat N ddof eps (fun l => z l t0) l * z' l)
        (fun l => normalised Z l j * z' l)) by (intros l Hl; now rewrite EX).
      change (Layer.Xhat N ddof eps (col Z j) i) with (normalised Z i j).
      set (s := Layer.s N ddof eps (col Z j)).
      rewrite (sum_ext N (fun l => block Z j i l * z' l) (fun l => / s * (δ i l * z' l) + - (/ s * / INR N) * z' l
         + - (/ s * / (INR N - ddof) * normalised Z i j) * (normalised Z l j * z' l)))
        by (intros; rewrite block_entry; fold s; ring).
      rewrite !sum_plus, !sum_scal_l, (sum_δ_l N z') by exact Hi. unfold mean.
      rewrite Es in Ps. unfold s. field. repeat split; auto; lra.
  Qed.
End Normalised.

(* Z = X Γ1, of N rows, p1 inputs and p2 nodes. *)
Section Weights.
  Variables (N p1 p2 : nat) (X Γ1 : matrix).

  (* (5.6) *)
  Theorem jacobian_of_Z_in_Γ1 :
    is_jacobian (p2 * N) (p2 * p1) (fun g => vec N (X ·[p1] unvec p1 g)) (vec p1 Γ1) (I ⊗[N, p1] X).
  Proof.
    apply jacobian_linear. intros g r H. destruct (stacked_bounds N p2 r H) as [Hi Hj].
    transitivity (vec N (X ·[p1] unvec p1 g ·[p2] I) r).
    - unfold vec. now rewrite product_I.
    - rewrite (vec_of_product N p1 p2 p2) by exact H. unfold times, kron, transpose, I. apply sum_ext. intros c Hc.
      now rewrite δ_sym, (vec_unvec p1 p2).
  Qed.

  Theorem jacobian_of_Z_in_X :
    is_jacobian (p2 * N) (p1 * N) (fun x => vec N (unvec N x ·[p1] Γ1)) (vec N X) (Γ1 ᵀ ⊗[N, N] I).
  Proof.
    apply jacobian_linear. intros x r H. destruct (stacked_bounds N p2 r H) as [Hi Hj].
    transitivity (vec N (I ·[N] unvec N x ·[p1] Γ1) r).
    - unfold vec. apply (sum_ext p1). intros k _. now rewrite (I_product N (unvec N x)).
    - rewrite (vec_of_product N N p1 p2) by exact H. apply sum_ext. intros c Hc. now rewrite (vec_unvec N p1).
  Qed.
End Weights.

(* From B up to the loss R = (1/N) Σ (y - a(B) Γ2)². *)
Section Loss.
  Variables (N p : nat) (y : vector) (a a' : R -> R) (Γ2 : vector) (B : matrix).
  Notation A := (fun i j => a (B i j)).

  Hypothesis rows : INR N <> 0.
  Hypothesis Ha : forall i j, (i < N)%nat -> (j < p)%nat -> is_derive a (B i j) (a' (B i j)).

  Definition slope : matrix := fun i j => a' (B i j).
  Definition residual : vector := Dense.e p y A Γ2.

  (* S = -(2/N) (ε̂ Γ2ᵀ) ⊙ a'(B) *)
  Definition matrix_stub : matrix := (- (2 / INR N) * (residual ⊗ᵥ Γ2)) ⊙ slope.

  Lemma loss_moves_by_the_stub :
    is_jacobian 1 (p * N) (fun b _ => Dense.Risk N p y (fun i j => a (unvec N b i j)) Γ2) (vec N B)
    (fun _ => vec N matrix_stub).
  Proof.
    intros x x' t0 E D r _. set (b := fun i j t => x (j * N + i)%nat t). set (b' := fun i j => x' (j * N + i)%nat).
    assert (Eb : forall i j, (i < N)%nat -> b i j t0 = B i j).
    { intros i j H. unfold b. change (x (j * N + i)%nat t0) with ((fun c => x c t0) (j * N + i)%nat).
      rewrite E. now apply vec_entry. }
    assert (Ee : forall i, (i < N)%nat -> Dense.e p y (fun i j => a (b i j t0)) Γ2 i = residual i).
    { intros i H. unfold residual, Dense.e, Dense.yhat. f_equal. apply sum_ext. intros. now rewrite Eb. }
    replace (((fun _ => vec N matrix_stub) ◃[p * N] x') r) with
      ((Σ (i < N) Σ (j < p) Dense.dA N p y (fun i j => a (b i j t0)) Γ2 i j * (a' (b i j t0) * b' i j))
       + Σ (j < p) Dense.dΓ2 N p y (fun i j => a (b i j t0)) Γ2 j * 0).
    - apply (head_backward N p t0 y (fun i j t => a (b i j t)) (fun j _ => Γ2 j)); [exact rows| |].
      + intros i j Hi Hj. apply (derive_through (b i j)); [|rewrite Eb by exact Hi; now apply Ha].
        apply D. now apply stacked_in.
      + intros. apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule)).
    - rewrite (sum_ext p (fun j => _ * 0) (fun _ => 0)), sum_zero, Rplus_0_r by (intros; ring).
      change (((fun _ => vec N matrix_stub) ◃[p * N] x') r) with ((vec N matrix_stub ▹[p * N] column x') 0%nat).
      rewrite row_times_vec, sum_swap. apply sum_ext. intros j _. apply sum_ext. intros i Hi.
      unfold Dense.dA, matrix_stub, scaled, hadamard, outer, slope, column, b'. rewrite Ee, Eb by exact Hi. ring.
  Qed.

  Lemma row_times_diag n u v c : (c < n)%nat -> (u ▹[n] diag v) c = u c * v c.
  Proof. exact (product_diag n (fun _ => u) v 0%nat c). Qed.

  (* (5.7): J_a is the diagonal matrix of vec a'(B) *)
  Theorem vec_of_stub :
    vec N matrix_stub =[p * N]
    (fun c => - (2 / INR N) * (residual ▹[N] ((column Γ2) ᵀ ⊗[N, N] I) ▹[p * N] diag (vec N slope)) c).
  Proof.
    intros c H. destruct (stacked_bounds N p c H) as [Hi Hj]. rewrite row_times_diag by exact H.
    unfold row_times. rewrite (sum_ext N _ (fun i => δ i (c mod N) * (residual i * Γ2 (c / N)%nat))).
    - rewrite (sum_δ N (fun i => residual i * Γ2 (c / N)%nat)) by exact Hi.
      unfold vec, matrix_stub, scaled, hadamard, outer. ring.
    - intros i Hi'. unfold kron, transpose, column, I. rewrite Nat.mod_small by exact Hi'. ring.
  Qed.

  Theorem jacobian_of_R_in_B :
    is_jacobian 1 (p * N) (fun b _ => Dense.Risk N p y (fun i j => a (unvec N b i j)) Γ2) (vec N B)
    (fun _ c => - (2 / INR N) * (residual ▹[N] ((column Γ2) ᵀ ⊗[N, N] I) ▹[p * N] diag (vec N slope)) c).
  Proof.
    apply (jacobian_ext _ _ _ _ (fun _ => vec N matrix_stub)); [|exact loss_moves_by_the_stub].
    intros _ c _ Hc. now apply vec_of_stub.
  Qed.
End Loss.

(* dZ, column by column as in Layer *)
Definition matrix_dZ (N : nat) (ddof eps : R) (Z : matrix) (γ : vector) (S : matrix) : matrix :=
  fun i j => Layer.dZ N ddof eps (col Z j) (γ j) (col S j) i.

(* What comes out: sections 3 and 4 again.  S is any matrix of N rows and p2 columns. *)
Section Products.
  Variables (N p1 p2 : nat) (ddof eps : R) (X Z S : matrix) (γ : vector).
  Notation Xh := (normalised N ddof eps Z).
  Notation dZ := (matrix_dZ N ddof eps Z γ S).

  (* (5.8) *)
  Theorem vec_product_for_β : vec N S ▹[p2 * N] (I ⊗[N, 1] column ones) =[p2] ones ▹[N] S.
  Proof.
    intros j Hj. rewrite row_times_vec.
    transitivity (Σ (k < p2) (δ k j * Σ (i < N) S i k)).
    - apply sum_ext. intros k _. rewrite <- sum_scal_l. apply sum_ext. intros i Hi.
      unfold kron, column, ones, I. rewrite stacked_div, Nat.div_1_r by exact Hi. ring.
    - rewrite (sum_δ p2 (fun k => Σ (i < N) S i k)) by exact Hj. unfold row_times, ones. apply sum_ext. intros. ring.
  Qed.

  (* (5.9) *)
  Theorem vec_product_for_γ :
    vec N S ▹[p2 * N] ((I ⊗[N, p2] Xh) ·[p2 * p2] selection p2) =[p2] diagonal (Xh ᵀ ·[N] S).
  Proof.
    intros j Hj. transitivity ((vec N S ▹[p2 * N] khatri_rao N I Xh) j).
    - apply sum_ext. intros c Hc. now rewrite (selection_of_columns N p2).
    - rewrite row_times_vec.
      transitivity (Σ (k < p2) (δ k j * Σ (i < N) Xh i j * S i k)).
      + apply sum_ext. intros k _. rewrite <- sum_scal_l. apply sum_ext. intros i Hi.
        unfold khatri_rao, I. rewrite stacked_div, stacked_mod by exact Hi. ring.
      + now rewrite (sum_δ p2 (fun k => Σ (i < N) Xh i j * S i k)).
  Qed.

  Hypothesis rows : INR N <> 0.
  Hypothesis divisor : INR N - ddof <> 0.

  (* (5.10) without its last factor: (vec S)ᵀ (diag(γ) ⊗ I) ∂vec X̂/∂vec Z = (vec dZ)ᵀ *)
  Theorem vec_product_for_Z :
    vec N S ▹[p2 * N] (diag γ ⊗[N, N] I) ▹[p2 * N] blockdiag N (block N ddof eps Z)
    =[p2 * N] vec N dZ.
  Proof.
    intros c Hc. destruct (stacked_bounds N p2 c Hc) as [Hi Hj].
    set (i := (c mod N)%nat) in *. set (j := (c / N)%nat) in *.
    assert (E : vec N S ▹[p2 * N] (diag γ ⊗[N, N] I) =[p2 * N] vec N (fun i j => γ j * S i j)).
    { intros r Hr. destruct (stacked_bounds N p2 r Hr) as [Hi' Hj']. rewrite row_times_vec.
      unfold vec at 1. cbv beta. rewrite <- (sum_sum_δ N p2 _ _ (fun i j => γ j * S i j) Hi' Hj').
      apply sum_ext. intros k _. apply sum_ext. intros l Hl.
      unfold kron, diag, I. rewrite stacked_div, stacked_mod by exact Hl.
      destruct (Nat.eq_dec k (r / N)) as [->|Ek]; [|rewrite (δ_other _ _ Ek)]; ring. }
    transitivity ((vec N (fun i j => γ j * S i j) ▹[p2 * N] blockdiag N (block N ddof eps Z)) c).
    { apply sum_ext. intros r Hr. now rewrite E. }
    rewrite row_times_vec.
    transitivity (Σ (k < p2) (δ k j * Σ (l < N) γ k * S l k * block N ddof eps Z k l i)).
    { apply sum_ext. intros k _. rewrite <- sum_scal_l. apply sum_ext. intros l Hl.
      unfold blockdiag. rewrite stacked_div, stacked_mod by exact Hl. fold i j. ring. }
    rewrite (sum_δ p2 (fun k => Σ (l < N) γ k * S l k * block N ddof eps Z k l i)) by exact Hj.
    unfold vec. fold i j. unfold matrix_dZ, Layer.dZ. set (s := Layer.s N ddof eps (col Z j)).
    rewrite (sum_ext N _ (fun l => γ j * / s * (δ l i * S l j) + - (γ j * / s * / INR N) * S l j
      + - (γ j * / s * / (INR N - ddof) * Xh i j) * (S l j * Xh l j)))
      by (intros; rewrite block_entry; fold s; ring).
    rewrite !sum_plus, !sum_scal_l, (sum_δ N (fun l => S l j)) by exact Hi.
    change (Layer.Xhat N ddof eps (col Z j) i) with (Xh i j).
    replace (Layer.dγ N ddof eps (col Z j) (col S j)) with (Σ (l < N) S l j * Xh l j) by reflexivity.
    replace (Layer.dβ N (col S j)) with (Σ (l < N) S l j) by reflexivity.
    unfold col. unfold Rdiv. ring.
  Qed.

  (* (5.10) *)
  Theorem vec_product_for_Γ1 :
    vec N S ▹[p2 * N] (diag γ ⊗[N, N] I) ▹[p2 * N] blockdiag N (block N ddof eps Z) ▹[p2 * N] (I ⊗[N, p1] X)
    =[p2 * p1] vec p1 (X ᵀ ·[N] dZ).
  Proof.
    intros c Hc. destruct (stacked_bounds p1 p2 c Hc) as [Hk Hj].
    transitivity ((vec N dZ ▹[p2 * N] (I ⊗[N, p1] X)) c).
    { apply sum_ext. intros r Hr. now rewrite vec_product_for_Z. }
    rewrite row_times_vec. set (k := (c mod p1)%nat) in *. set (j := (c / p1)%nat) in *.
    transitivity (Σ (l < p2) (δ l j * Σ (i < N) X i k * dZ i l)).
    { apply sum_ext. intros l _. rewrite <- sum_scal_l. apply sum_ext. intros i Hi.
      unfold kron, I. rewrite stacked_div, stacked_mod by exact Hi. fold k j. ring. }
    now rewrite (sum_δ p2 (fun l => Σ (i < N) X i k * dZ i l)).
  Qed.

  (* Its twin: (vec dZ)ᵀ (Γ1ᵀ ⊗ I) = (vec dZ Γ1ᵀ)ᵀ *)
  Theorem vec_product_for_X Γ1 :
    vec N S ▹[p2 * N] (diag γ ⊗[N, N] I) ▹[p2 * N] blockdiag N (block N ddof eps Z) ▹[p2 * N] (Γ1 ᵀ ⊗[N, N] I)
    =[p1 * N] vec N (dZ ·[p2] Γ1 ᵀ).
  Proof.
    intros c Hc. destruct (stacked_bounds N p1 c Hc) as [Hi Hk].
    transitivity ((vec N dZ ▹[p2 * N] (Γ1 ᵀ ⊗[N, N] I)) c).
    { apply sum_ext. intros r Hr. now rewrite vec_product_for_Z. }
    rewrite row_times_vec. set (i := (c mod N)%nat) in *. set (k := (c / N)%nat) in *.
    apply (sum_ext p2). intros j _.
    transitivity (Σ (l < N) (δ l i * (dZ l j * Γ1 k j))); [|exact (sum_δ N (fun l => dZ l j * Γ1 k j) i Hi)].
    apply sum_ext. intros l Hl.
    unfold kron, transpose, I. rewrite stacked_div, stacked_mod by exact Hl. fold i k. ring.
  Qed.
End Products.

(* All of it: the products of Jacobians, from R down to vec Γ1, vec X, γ and β, are the gradients of OneLayer.  What is
   assumed is what is assumed there (OneLayer.data_exist has data that fulfil it). *)
Section Network.
  Variables (N p1 p2 : nat) (ddof eps : R) (X : matrix) (y : vector) (a a' : R -> R).
  Variables (Γ1 : matrix) (γ β Γ2 : vector).
  Notation Z := (X ·[p1] Γ1).
  Notation Xh := (normalised N ddof eps Z).
  Notation B := (affine Xh γ β).
  Notation S := (matrix_stub N p2 y a a' Γ2 B).
  Notation R_of A := (Dense.Risk N p2 y A Γ2).

  Hypothesis rows : INR N <> 0.
  Hypothesis divisor : INR N - ddof <> 0.
  Hypothesis positive : forall j, (j < p2)%nat -> 0 < variance N p1 ddof eps X Γ1 j.
  Hypothesis Ha : forall i j, (i < N)%nat -> (j < p2)%nat ->
    is_derive a (OneLayer.B N p1 ddof eps X Γ1 γ β i j) (a' (OneLayer.B N p1 ddof eps X Γ1 γ β i j)).

  Lemma jacobian_ext_fun m n f g v J :
    (forall x r, (r < m)%nat -> f x r = g x r) -> is_jacobian m n f v J -> is_jacobian m n g v J.
  Proof.
    intros E H x x' t0 Ex D r Hr. apply (is_derive_ext (fun t => f (fun c => x c t) r)); [intros; now apply E|].
    now apply (H x x' t0).
  Qed.

  Lemma N_positive : (0 < N)%nat.
  Proof. destruct (Nat.eq_dec N 0) as [E|E]; [elim rows; now rewrite E|lia]. Qed.

  Lemma vec_eq M P : (forall i j, (i < N)%nat -> M i j = P i j) -> vec N M = vec N P.
  Proof.
    intros E. apply functional_extensionality. intros r. apply E. apply Nat.mod_upper_bound.
    pose proof N_positive. lia.
  Qed.

  Lemma unvec_vec M i j : (i < N)%nat -> unvec N (vec N M) i j = M i j.
  Proof. exact (vec_entry N M i j). Qed.

  Lemma normalised_ext M P i j : (forall l, (l < N)%nat -> M l j = P l j) -> (i < N)%nat ->
    normalised N ddof eps M i j = normalised N ddof eps P i j.
  Proof. intros E Hi. now apply (column_ext N ddof eps (col M j) (col P j) E). Qed.

  Lemma affine_ext M P i j : (forall j, M i j = P i j) -> affine M γ β i j = affine P γ β i j.
  Proof. intros E. unfold affine. now rewrite E. Qed.

  Lemma risk_ext A A' : A =[N, p2] A' -> R_of A = R_of A'.
  Proof.
    intros E. unfold Dense.Risk, Dense.e, Dense.yhat. f_equal. apply sum_ext. intros i Hi. do 2 f_equal.
    apply sum_ext. intros j Hj. now rewrite E.
  Qed.

  (* From vec Z up to R: (vec dZ)ᵀ *)
  Lemma jacobian_of_R_in_Z :
    is_jacobian 1 (p2 * N)
      (fun z _ => R_of (fun i j => a (affine (normalised N ddof eps (unvec N z)) γ β i j)))
      (vec N Z) (fun _ => vec N (matrix_dZ N ddof eps Z γ S)).
  Proof.
    apply (jacobian_ext _ _ _ _ (fun _ => vec N S ▹[p2 * N] (diag γ ⊗[N, N] I) ▹[p2 * N]
      blockdiag N (block N ddof eps Z))).
    { intros _ c _ Hc. now apply vec_product_for_Z. }
    apply (jacobian_ext_fun _ _ (fun z _ => R_of (fun i j => a (unvec N (vec N (affine
      (unvec N (vec N (normalised N ddof eps (unvec N z)))) γ β)) i j)))).
    { intros z r _. apply risk_ext. intros i j Hi Hj. rewrite unvec_vec by exact Hi. f_equal.
      apply affine_ext. intros. now apply unvec_vec. }
    apply (jacobian_chain 1 (p2 * N) (p2 * N) (fun z => vec N (normalised N ddof eps (unvec N z)))
      (fun x _ => R_of (fun i j => a (unvec N (vec N (affine (unvec N x) γ β)) i j))) _ _
      (fun _ => vec N S ▹[p2 * N] (diag γ ⊗[N, N] I))).
    - now apply jacobian_of_Xhat_in_Z.
    - replace (vec N (normalised N ddof eps (unvec N (vec N Z)))) with (vec N Xh)
        by (apply vec_eq; intros; apply normalised_ext; [intros; symmetry; now apply unvec_vec|assumption]).
      apply (jacobian_chain 1 (p2 * N) (p2 * N) (fun x => vec N (affine (unvec N x) γ β))
        (fun b _ => R_of (fun i j => a (unvec N b i j))) _ _ (fun _ => vec N S)).
      + apply jacobian_of_B_in_Xhat.
      + replace (vec N (affine (unvec N (vec N Xh)) γ β)) with (vec N B)
          by (apply vec_eq; intros; apply affine_ext; intros; symmetry; now apply unvec_vec).
        now apply loss_moves_by_the_stub.
  Qed.

  (* ∂R/∂(vec Γ1)ᵀ = (vec Xᵀ dZ)ᵀ *)
  Theorem kronecker_gradient_of_Γ1 :
    is_jacobian 1 (p2 * p1)
      (fun g _ => Risk N p1 p2 ddof eps a X y (unvec p1 g) γ β Γ2)
      (vec p1 Γ1) (fun _ => vec p1 (dΓ1 N p1 p2 ddof eps a a' X y Γ1 γ β Γ2)).
  Proof.
    apply (jacobian_ext _ _ _ _ (fun _ => vec N S ▹[p2 * N] (diag γ ⊗[N, N] I) ▹[p2 * N]
      blockdiag N (block N ddof eps Z) ▹[p2 * N] (I ⊗[N, p1] X))).
    { intros _ c _ Hc. exact (vec_product_for_Γ1 N p1 p2 ddof eps X Z S γ c Hc). }
    apply (jacobian_ext _ _ _ _ ((fun _ => vec N (matrix_dZ N ddof eps Z γ S)) ·[p2 * N] (I ⊗[N, p1] X))).
    { intros q c _ Hc. apply (sum_ext (p2 * N)). intros r Hr. now rewrite <- (vec_product_for_Z N p2). }
    apply (jacobian_ext_fun _ _ (fun g _ => R_of (fun i j => a (affine (normalised N ddof eps
      (unvec N (vec N (X ·[p1] unvec p1 g)))) γ β i j)))).
    { intros g r _. apply risk_ext. intros i j Hi Hj. apply (f_equal a).
      apply (affine_ext _ (normalised N ddof eps (X ·[p1] unvec p1 g))).
      intros. apply normalised_ext; [intros; now apply unvec_vec|exact Hi]. }
    apply (jacobian_chain 1 (p2 * N) (p2 * p1) (fun g => vec N (X ·[p1] unvec p1 g))
      (fun z _ => R_of (fun i j => a (affine (normalised N ddof eps (unvec N z)) γ β i j))) _ _
      (fun _ => vec N (matrix_dZ N ddof eps Z γ S))).
    - apply jacobian_of_Z_in_Γ1.
    - replace (vec N (X ·[p1] unvec p1 (vec p1 Γ1))) with (vec N Z); [exact jacobian_of_R_in_Z|].
      apply vec_eq. intros i j _. apply (sum_ext p1). intros k Hk. unfold unvec. now rewrite vec_entry.
  Qed.

  (* ∂R/∂(vec X)ᵀ = (vec dZ Γ1ᵀ)ᵀ *)
  Theorem kronecker_gradient_of_X :
    is_jacobian 1 (p1 * N)
      (fun x _ => Risk N p1 p2 ddof eps a (unvec N x) y Γ1 γ β Γ2)
      (vec N X) (fun _ => vec N (dX N p1 p2 ddof eps a a' X y Γ1 γ β Γ2)).
  Proof.
    apply (jacobian_ext _ _ _ _ (fun _ => vec N S ▹[p2 * N] (diag γ ⊗[N, N] I) ▹[p2 * N]
      blockdiag N (block N ddof eps Z) ▹[p2 * N] (Γ1 ᵀ ⊗[N, N] I))).
    { intros _ c _ Hc. exact (vec_product_for_X N p1 p2 ddof eps Z S γ Γ1 c Hc). }
    apply (jacobian_ext _ _ _ _ ((fun _ => vec N (matrix_dZ N ddof eps Z γ S)) ·[p2 * N] (Γ1 ᵀ ⊗[N, N] I))).
    { intros q c _ Hc. apply (sum_ext (p2 * N)). intros r Hr. now rewrite <- (vec_product_for_Z N p2). }
    apply (jacobian_ext_fun _ _ (fun x _ => R_of (fun i j => a (affine (normalised N ddof eps
      (unvec N (vec N (unvec N x ·[p1] Γ1)))) γ β i j)))).
    { intros g r _. apply risk_ext. intros i j Hi Hj. apply (f_equal a).
      apply (affine_ext _ (normalised N ddof eps (unvec N g ·[p1] Γ1))).
      intros. apply normalised_ext; [intros; now apply unvec_vec|exact Hi]. }
    apply (jacobian_chain 1 (p2 * N) (p1 * N) (fun x => vec N (unvec N x ·[p1] Γ1))
      (fun z _ => R_of (fun i j => a (affine (normalised N ddof eps (unvec N z)) γ β i j))) _ _
      (fun _ => vec N (matrix_dZ N ddof eps Z γ S))).
    - apply jacobian_of_Z_in_X.
    - replace (vec N (unvec N (vec N X) ·[p1] Γ1)) with (vec N Z); [exact jacobian_of_R_in_Z|].
      apply vec_eq. intros i j Hi. apply (sum_ext p1). intros k Hk. now rewrite unvec_vec.
  Qed.

  (* ∂R/∂βᵀ = 1ᵀ S *)
  Theorem kronecker_gradient_of_β :
    is_jacobian 1 p2 (fun β _ => Risk N p1 p2 ddof eps a X y Γ1 γ β Γ2) β
      (fun _ => dβ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Proof.
    apply (jacobian_ext _ _ _ _ (fun _ => vec N S ▹[p2 * N] (I ⊗[N, 1] column ones))).
    { intros _ j _ Hj. rewrite vec_product_for_β by exact Hj. apply sum_ext. intros. apply Rmult_1_l. }
    apply (jacobian_ext_fun _ _ (fun β _ => R_of (fun i j => a (unvec N (vec N (affine Xh γ β)) i j)))).
    { intros x r _. apply risk_ext. intros i j Hi Hj. exact (f_equal a (unvec_vec (affine Xh γ x) i j Hi)). }
    apply (jacobian_chain 1 (p2 * N) p2 (fun β => vec N (affine Xh γ β))
      (fun b _ => R_of (fun i j => a (unvec N b i j))) _ _ (fun _ => vec N S));
      [apply jacobian_of_B_in_β|now apply loss_moves_by_the_stub].
  Qed.

  (* ∂R/∂γᵀ = diag(X̂ᵀ S)ᵀ *)
  Theorem kronecker_gradient_of_γ :
    is_jacobian 1 p2 (fun γ _ => Risk N p1 p2 ddof eps a X y Γ1 γ β Γ2) γ
      (fun _ => dγ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Proof.
    apply (jacobian_ext _ _ _ _ (fun _ => vec N S ▹[p2 * N] ((I ⊗[N, p2] Xh) ·[p2 * p2] selection p2))).
    { intros _ j _ Hj. rewrite (vec_product_for_γ N p2 ddof eps Z) by exact Hj.
      apply sum_ext. intros. apply Rmult_comm. }
    apply (jacobian_ext_fun _ _ (fun γ _ => R_of (fun i j => a (unvec N (vec N (affine Xh γ β)) i j)))).
    { intros x r _. apply risk_ext. intros i j Hi Hj. exact (f_equal a (unvec_vec (affine Xh x β) i j Hi)). }
    apply (jacobian_chain 1 (p2 * N) p2 (fun γ => vec N (affine Xh γ β))
      (fun b _ => R_of (fun i j => a (unvec N b i j))) _ _ (fun _ => vec N S));
      [apply jacobian_of_B_in_γ|now apply loss_moves_by_the_stub].
  Qed.
End Network.
