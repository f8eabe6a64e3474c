(* Matrices, and what is done with them: products, transposes, outer products, what goes entry by entry.

   A matrix is a function of two indices, both from 0, and a vector a function of one.  Neither knows its size: what
   adds up over an index is told how far, and what is said of entries is said of those in range.

     M ·[n] P     the product, n the size between them          M ᵀ      the transpose
     M ⊙ P        entry by entry                                u ⊗ᵥ v   u vᵀ, the outer product
     M ◃[n] v     M v                                           v ▹[n] M   vᵀ M, a row
     M =[m, n] P  the same entries in m rows and n columns      v =[n] w   the same n entries *)
From Coq Require Import Reals Lra Lia Arith.
From Coquelicot Require Import Coquelicot.
From bnbench Require Import Sums.
Open Scope R_scope.

Definition matrix := nat -> nat -> R.
Definition vector := nat -> R.
Declare Scope matrix_scope.
Delimit Scope matrix_scope with M.
Bind Scope matrix_scope with matrix.

Definition product (n : nat) (M P : matrix) : matrix := fun i j => Σ (k < n) M i k * P k j.
Definition transpose (M : matrix) : matrix := fun i j => M j i.
Definition hadamard (M P : matrix) : matrix := fun i j => M i j * P i j.
Definition outer (u v : vector) : matrix := fun i j => u i * v j.
Definition times (n : nat) (M : matrix) (v : vector) : vector := fun i => Σ (k < n) M i k * v k.
Definition row_times (n : nat) (v : vector) (M : matrix) : vector := fun j => Σ (k < n) v k * M k j.
Definition diag (v : vector) : matrix := fun i j => δ i j * v j.
Definition diagonal (M : matrix) : vector := fun j => M j j.
Definition column (v : vector) : matrix := fun i _ => v i.
Definition col (M : matrix) (j : nat) : vector := fun i => M i j.
Definition ones : vector := fun _ => 1.
Definition I : matrix := δ.

Notation "M ·[ n ] P" := (product n M P) (at level 40, left associativity, format "M  ·[ n ]  P").
Notation "M ◃[ n ] v" := (times n M v) (at level 40, left associativity, format "M  ◃[ n ]  v").
Notation "v ▹[ n ] M" := (row_times n v M) (at level 40, left associativity, format "v  ▹[ n ]  M").
Notation "M 'ᵀ'" := (transpose M) (at level 7, left associativity, format "M  'ᵀ'").
Notation "M ⊙ P" := (hadamard M P) (at level 40, left associativity).
Notation "u ⊗ᵥ v" := (outer u v) (at level 40, left associativity).
Notation "M =[ m , n ] P" := (forall i j, (i < m)%nat -> (j < n)%nat -> M%M i j = P%M i j) (at level 70).
Notation "v =[ n ] w" := (forall i, (i < n)%nat -> v i = w i) (at level 70).

Definition plus (M P : matrix) : matrix := fun i j => M i j + P i j.
Definition minus (M P : matrix) : matrix := fun i j => M i j - P i j.
Definition scaled (c : R) (M : matrix) : matrix := fun i j => c * M i j.
(* Sums, differences and multiples of matrices are written +, - and *. *)
Notation "M + P" := (plus M P) : matrix_scope.
Notation "M - P" := (minus M P) : matrix_scope.
Notation "c * M" := (scaled c M) : matrix_scope.

(* The transpose of a product, and column j of one. *)
Lemma product_transposed n M P i j : (M ·[n] P) ᵀ i j = (P ᵀ ·[n] M ᵀ) i j.
Proof. unfold transpose, product. apply sum_ext. intros. ring. Qed.

Lemma product_assoc m n M P Q i j : (M ·[m] P ·[n] Q) i j = (M ·[m] (P ·[n] Q)) i j.
Proof.
  unfold product.
  rewrite (sum_ext n _ (fun k => Σ (l < m) M i l * P l k * Q k j)) by (intros; symmetry; apply sum_scal_r).
  rewrite sum_swap. apply sum_ext. intros l _. rewrite <- sum_scal_l. apply sum_ext. intros. ring.
Qed.

Lemma row_times_assoc m n v M P j : (v ▹[m] M ▹[n] P) j = (v ▹[m] (M ·[n] P)) j.
Proof. exact (product_assoc m n (fun _ => v) M P 0%nat j). Qed.

(* δ is symmetric, and takes one entry out of a sum wherever it stands. *)
Lemma δ_sym i j : δ i j = δ j i.
Proof. unfold δ. now rewrite Nat.eqb_sym. Qed.

Lemma sum_δ_l n u j : (j < n)%nat -> Σ (i < n) (δ j i * u i) = u j.
Proof. intros H. rewrite <- (sum_δ n u j H). apply sum_ext. intros. now rewrite δ_sym. Qed.

Lemma sum_δ_r n u j : (j < n)%nat -> Σ (i < n) (u i * δ i j) = u j.
Proof. intros H. rewrite <- (sum_δ n u j H). apply sum_ext. intros. ring. Qed.

Lemma product_diag n M v i j : (j < n)%nat -> (M ·[n] diag v) i j = M i j * v j.
Proof.
  intros H. unfold product, diag. rewrite <- (sum_δ n (fun k => M i k * v j) j H).
  apply sum_ext. intros. ring.
Qed.

Lemma product_I n M i j : (j < n)%nat -> (M ·[n] I) i j = M i j.
Proof. intros H. now apply (sum_δ_r n (M i)). Qed.

Lemma I_product n M i j : (i < n)%nat -> (I ·[n] M) i j = M i j.
Proof. intros H. now apply (sum_δ_l n (fun k => M k j)). Qed.

(* A sum of one term. *)
Lemma sum_one u : sum 1 u = u 0%nat.
Proof. simpl. ring. Qed.
