(* Finite sums, and the rules of calculus.  Σ (i < N) u is u at i = 0, …, N-1, added up. *)
From Coq Require Import Reals Lra Lia.
From Coquelicot Require Import Coquelicot.
Open Scope R_scope.

Fixpoint sum (N : nat) (u : nat -> R) : R :=
  match N with
  | O => 0
  | S m => sum m u + u m
  end.

Notation "'Σ' ( i < N ) u" := (sum N (fun i => u)) (at level 41, i name, N at level 35, u at level 41).

(* It takes the whole product that follows, as in mathematics: Σ (i < N) u i * v i + w is (Σ (i < N) (u i * v i)) + w. *)

(* Entries that are the same add up to the same. *)
Lemma sum_ext N u v : (forall i, (i < N)%nat -> u i = v i) -> sum N u = sum N v.
Proof.
  induction N as [|m IH]; intros H; simpl; [reflexivity|].
  rewrite IH, H by (intros; try apply H; lia). reflexivity.
Qed.

Lemma sum_zero N : Σ (i < N) 0 = 0.
Proof. induction N as [|m IH]; simpl; [|rewrite IH]; ring. Qed.

Lemma sum_const N c : Σ (i < N) c = INR N * c.
Proof.
  induction N as [|m IH]; [simpl; ring|].
  rewrite S_INR. simpl. rewrite IH. ring.
Qed.

Lemma sum_plus N u v : Σ (i < N) (u i + v i) = sum N u + sum N v.
Proof. induction N as [|m IH]; simpl; [|rewrite IH]; ring. Qed.

Lemma sum_minus N u v : Σ (i < N) (u i - v i) = sum N u - sum N v.
Proof. induction N as [|m IH]; simpl; [|rewrite IH]; ring. Qed.

Lemma sum_opp N u : Σ (i < N) - u i = - sum N u.
Proof. induction N as [|m IH]; simpl; [|rewrite IH]; ring. Qed.

(* A factor that does not depend on the index stands before the sum, *)
Lemma sum_scal_l N c u : Σ (i < N) (c * u i) = c * sum N u.
Proof. induction N as [|m IH]; simpl; [|rewrite IH]; ring. Qed.

(* or behind it. *)
Lemma sum_scal_r N c u : Σ (i < N) (u i * c) = sum N u * c.
Proof. induction N as [|m IH]; simpl; [|rewrite IH]; ring. Qed.

Lemma sum_div N c u : Σ (i < N) (u i / c) = sum N u / c.
Proof. apply sum_scal_r. Qed.

(* Sums change places. *)
Lemma sum_swap M N (u : nat -> nat -> R) : Σ (i < M) Σ (j < N) u i j = Σ (j < N) Σ (i < M) u i j.
Proof.
  induction M as [|m IH]; simpl.
  - symmetry. apply sum_zero.
  - rewrite IH. symmetry. apply sum_plus.
Qed.

(* 1 where i = j, 0 otherwise. *)
Definition δ (i j : nat) : R := if Nat.eqb i j then 1 else 0.

Lemma δ_same i : δ i i = 1.
Proof. unfold δ. now rewrite Nat.eqb_refl. Qed.

Lemma δ_other i j : i <> j -> δ i j = 0.
Proof. intros H. unfold δ. now apply Nat.eqb_neq in H as ->. Qed.

(* Of a sum with δ one entry is left. *)
Lemma sum_δ N u j : (j < N)%nat -> Σ (i < N) (δ i j * u i) = u j.
Proof.
  induction N as [|m IH]; intros H; [lia|]. simpl.
  destruct (Nat.eq_dec m j) as [->|E].
  - rewrite δ_same, (sum_ext j _ (fun _ => 0)), sum_zero; [ring|].
    intros i Hi. rewrite δ_other by lia. ring.
  - rewrite IH, δ_other by lia. ring.
Qed.

Lemma sum_nonneg N u : (forall i, (i < N)%nat -> 0 <= u i) -> 0 <= sum N u.
Proof.
  induction N as [|m IH]; intros H; simpl; [lra|].
  assert (0 <= sum m u) by (apply IH; intros; apply H; lia).
  assert (0 <= u m) by (apply H; lia). lra.
Qed.

(* A sum is differentiated entry by entry. *)
Lemma derive_sum N (u : nat -> R -> R) (u' : nat -> R) t :
  (forall i, (i < N)%nat -> is_derive (u i) t (u' i)) -> is_derive (fun x => Σ (i < N) u i x) t (sum N u').
Proof.
  induction N as [|m IH]; intros H; simpl.
  - apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule)).
  - apply (is_derive_plus (K := R_AbsRing) (V := R_NormedModule)); [apply IH; intros|]; apply H; lia.
Qed.

(* Coquelicot's equations are of R by another name; ring and field want it by its own. *)
Ltac reals := match goal with |- @eq _ ?a ?b => change (@eq R a b) end.

(* Rewrites the derivatives of auto_derive's answer by one that is known. *)
Ltac known H :=
  let E := fresh in
  pose proof (is_derive_unique _ _ _ H) as E;
  match type of E with
  | Derive ?g ?t = _ => repeat (change (Derive (fun x => g x) t) with (Derive g t))
  end;
  rewrite ?E; clear E.

(* The rules of calculus that are needed, for functions f, g, h of one variable. *)
Section Rules.
  Variables (f g h : R -> R) (f' g' h' t : R).
  Hypotheses (Hf : is_derive f t f') (Hg : is_derive g t g') (Hh : is_derive h t h').

  Lemma derive_scal c : is_derive (fun x => c * f x) t (c * f').
  Proof. apply (is_derive_scal f t c f' Hf). Qed.

  Lemma derive_div c : is_derive (fun x => f x / c) t (f' / c).
  Proof.
    apply is_derive_ext with (fun x => / c * f x); [intros; unfold Rdiv; reals; ring|].
    replace (f' / c) with (/ c * f') by (unfold Rdiv; reals; ring). exact (derive_scal (/ c)).
  Qed.

  Lemma derive_plus : is_derive (fun x => f x + g x) t (f' + g').
  Proof. apply (is_derive_plus (K := R_AbsRing) (V := R_NormedModule) f g t f' g' Hf Hg). Qed.

  Lemma derive_times : is_derive (fun x => f x * g x) t (f' * g t + f t * g').
  Proof. auto_derive; [repeat split; eexists; eauto|]. known Hf. known Hg. reals. ring. Qed.

  Lemma derive_square : is_derive (fun x => (f x - g x) ^ 2) t (2 * (f t - g t) * (f' - g')).
  Proof. auto_derive; [repeat split; eexists; eauto|]. known Hf. known Hg. reals. ring. Qed.

  Lemma derive_quotient : h t <> 0 ->
    is_derive (fun x => (f x - g x) / h x) t ((f' - g' - (f t - g t) / h t * h') / h t).
  Proof. intros H. auto_derive; [repeat split; auto; eexists; eauto|]. known Hf. known Hg. known Hh. reals. field. exact H. Qed.

  Lemma derive_affine : is_derive (fun x => f x * g x + h x) t (f' * g t + f t * g' + h').
  Proof. auto_derive; [repeat split; eexists; eauto|]. known Hf. known Hg. known Hh. reals. ring. Qed.

  Lemma derive_root c : 0 < f t + c -> is_derive (fun x => sqrt (f x + c)) t (f' / (2 * sqrt (f t + c))).
  Proof.
    intros H. assert (0 < sqrt (f t + c)) by now apply sqrt_lt_R0.
    auto_derive; [repeat split; auto; eexists; eauto|]. known Hf. reals. field. lra.
  Qed.

  Lemma derive_through (F : R -> R) F' : is_derive F (f t) F' -> is_derive (fun x => F (f x)) t (F' * f').
  Proof.
    intros H. replace (F' * f') with (scal f' F') by (unfold scal; simpl; unfold mult; simpl; reals; ring).
    apply (is_derive_comp F f t F' f' H Hf).
  Qed.
End Rules.
