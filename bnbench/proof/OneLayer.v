(* The network with one hidden layer: the gradient of its risk, from its definition.

   N rows i, p1 inputs k, p2 nodes j; only entries in range matter.  a' is a's derivative, asked for at the B_ij alone.

   risk_gradient      the derivative of R along any curve of Γ1, γ, β and Γ2 is
                      Σ ∂Γ1 Γ1' + Σ ∂γ γ' + Σ ∂β β' + Σ ∂Γ2 Γ2', with ∂Γ1 = Xᵀ dZ and so on: that holds
                      all partial derivatives at once
   risk_gradient_X    the same where X moves too, with ∂X = dZ Γ1ᵀ
   partial_Γ1, ...    the partial derivatives: one entry moves, all others stay
   risk_gradient_frozen, risk_gradient_plain   the same with frozen statistics, and without normalisation *)
From Coq Require Import Reals Lra Lia FunctionalExtensionality.
From Coquelicot Require Import Coquelicot.
From bnbench Require Import Sums Layer Dense.
Open Scope R_scope.

Section Definitions.
  Variables (N p1 p2 : nat) (ddof eps : R) (a a' : R -> R) (X : nat -> nat -> R) (y : nat -> R).
  Variables (Γ1 : nat -> nat -> R) (γ β Γ2 : nat -> R).

  (* Z = X Γ1,  μ_j = mean_i Z_ij,  s_j = sqrt(Σ_i (Z_ij - μ_j)² / (N - ddof) + eps) *)
  Definition Z (i j : nat) : R := Σ (k < p1) X i k * Γ1 k j.
  Definition μ (j : nat) : R := (Σ (i < N) Z i j) / INR N.
  Definition variance (j : nat) : R := (Σ (i < N) (Z i j - μ j) ^ 2) / (INR N - ddof) + eps.
  Definition s (j : nat) : R := sqrt (variance j).

  (* X̂ = (Z - 1μᵀ) / s,  B = γ ⊙ X̂ + β,  A = a(B),  ŷ = A Γ2,  ε̂ = y - ŷ,  R = (1/N) Σ ε̂² *)
  Definition Xhat (i j : nat) : R := (Z i j - μ j) / s j.
  Definition B (i j : nat) : R := γ j * Xhat i j + β j.
  Definition A (i j : nat) : R := a (B i j).
  Definition yhat (i : nat) : R := Σ (j < p2) A i j * Γ2 j.
  Definition e (i : nat) : R := y i - yhat i.
  Definition Risk : R := (Σ (i < N) e i ^ 2) / INR N.

  (* S = -(2/N) (ε̂ Γ2ᵀ) ⊙ a'(B), the stub;  ∂β = 1ᵀ S,  ∂γ = 1ᵀ (S ⊙ X̂),  ∂Γ2 = -(2/N) Aᵀ ε̂ *)
  Definition stub (i j : nat) : R := - (2 / INR N) * (e i * Γ2 j) * a' (B i j).
  Definition dβ (j : nat) : R := Σ (i < N) stub i j.
  Definition dγ (j : nat) : R := Σ (i < N) stub i j * Xhat i j.
  Definition dΓ2 (j : nat) : R := - (2 / INR N) * (Σ (i < N) A i j * e i).

  (* dZ = (γ/s) ⊙ (S - 1 ∂βᵀ/N - X̂ ⊙ ∂γᵀ/(N - ddof));  ∂Γ1 = Xᵀ dZ,  ∂X = dZ Γ1ᵀ *)
  Definition dZ (i j : nat) : R :=
    γ j / s j * (stub i j - dβ j / INR N - Xhat i j * dγ j / (INR N - ddof)).
  Definition dΓ1 (k j : nat) : R := Σ (i < N) X i k * dZ i j.
  Definition dX (i k : nat) : R := Σ (j < p2) dZ i j * Γ1 k j.
End Definitions.

Section Gradient.
  Variables (N p1 p2 : nat) (ddof eps : R) (a a' : R -> R) (y : nat -> R) (t0 : R).
  Variables (X Γ1 : nat -> nat -> R -> R) (γ β Γ2 : nat -> R -> R).
  Variables (X' Γ1' : nat -> nat -> R) (γ' β' Γ2' : nat -> R).

  (* The network with its parameters at t; and its gradients, at t0. *)
  Notation X_ t := (fun i k => X i k t).
  Notation Γ1_ t := (fun k j => Γ1 k j t).
  Notation γ_ t := (fun j => γ j t).
  Notation β_ t := (fun j => β j t).
  Notation Γ2_ t := (fun j => Γ2 j t).
  Notation B t := (B N p1 ddof eps (X_ t) (Γ1_ t) (γ_ t) (β_ t)).
  Notation A t := (A N p1 ddof eps a (X_ t) (Γ1_ t) (γ_ t) (β_ t)).
  Notation Risk t := (Risk N p1 p2 ddof eps a (X_ t) y (Γ1_ t) (γ_ t) (β_ t) (Γ2_ t)).
  Notation dΓ1 := (dΓ1 N p1 p2 ddof eps a a' (X_ t0) y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dγ := (dγ N p1 p2 ddof eps a a' (X_ t0) y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dβ := (dβ N p1 p2 ddof eps a a' (X_ t0) y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dΓ2 := (dΓ2 N p1 p2 ddof eps a (X_ t0) y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dX := (dX N p1 p2 ddof eps a a' (X_ t0) y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).

  Hypothesis rows : INR N <> 0.
  Hypothesis divisor : INR N - ddof <> 0.
  Hypothesis positive : forall j, (j < p2)%nat -> 0 < variance N p1 ddof eps (X_ t0) (Γ1_ t0) j.
  Hypothesis differentiable :
    forall i j, (i < N)%nat -> (j < p2)%nat -> is_derive a (B t0 i j) (a' (B t0 i j)).
  Hypothesis HΓ1 : forall k j, (k < p1)%nat -> (j < p2)%nat -> is_derive (Γ1 k j) t0 (Γ1' k j).
  Hypothesis Hγ : forall j, (j < p2)%nat -> is_derive (γ j) t0 (γ' j).
  Hypothesis Hβ : forall j, (j < p2)%nat -> is_derive (β j) t0 (β' j).
  Hypothesis HΓ2 : forall j, (j < p2)%nat -> is_derive (Γ2 j) t0 (Γ2' j).

  (* X moves too. *)
  Theorem risk_gradient_X :
    (forall i k, (i < N)%nat -> (k < p1)%nat -> is_derive (X i k) t0 (X' i k)) ->
    is_derive (fun t => Risk t) t0
      ((Σ (k < p1) Σ (j < p2) dΓ1 k j * Γ1' k j) + (Σ (j < p2) dγ j * γ' j) + (Σ (j < p2) dβ j * β' j)
       + (Σ (j < p2) dΓ2 j * Γ2' j) + Σ (i < N) Σ (k < p1) dX i k * X' i k).
  Proof.
    intros HX.
    pose proof (head_backward N p2 t0 y (fun i j t => A t i j) Γ2
      (A' N p1 ddof eps t0 a' X Γ1 γ β X' Γ1' γ' β') Γ2' rows) as H.
    rewrite (layer_backward N p1 p2 ddof eps t0 a' X Γ1 γ β X' Γ1' γ' β' rows divisor positive) in H.
    match type of H with _ -> _ -> is_derive _ _ ?l => match goal with |- is_derive _ _ ?r => replace r with l end end.
    - apply H; [|exact HΓ2]. intros i j Hi Hj.
      now apply (derive_A N p1 p2 ddof eps t0 a a' X Γ1 γ β X' Γ1' γ' β').
    - match goal with |- ?u1 + ?u2 + ?u3 + ?u4 + ?u5 = ?v1 + ?v2 + ?v3 + ?v4 + ?v5 =>
        change v1 with u1; change v2 with u2; change v3 with u3; change v4 with u5; change v5 with u4 end.
      ring.
  Qed.
End Gradient.

Lemma sum_times_0 q (u : nat -> R) : Σ (l < q) u l * 0 = 0.
Proof. rewrite sum_scal_r. ring. Qed.

Lemma sum_times_00 p q (u : nat -> nat -> R) : Σ (m < p) Σ (l < q) u m l * 0 = 0.
Proof. transitivity (Σ (m < p) 0); [apply sum_ext; intros; apply sum_times_0|apply sum_zero]. Qed.

(* X is what it is: the four parameters move. *)
Section Parameters.
  Variables (N p1 p2 : nat) (ddof eps : R) (a a' : R -> R) (X : nat -> nat -> R) (y : nat -> R) (t0 : R).
  Variables (Γ1 : nat -> nat -> R -> R) (γ β Γ2 : nat -> R -> R) (Γ1' : nat -> nat -> R) (γ' β' Γ2' : nat -> R).

  Notation Γ1_ t := (fun k j => Γ1 k j t).
  Notation γ_ t := (fun j => γ j t).
  Notation β_ t := (fun j => β j t).
  Notation Γ2_ t := (fun j => Γ2 j t).
  Notation B t := (B N p1 ddof eps X (Γ1_ t) (γ_ t) (β_ t)).
  Notation Risk t := (Risk N p1 p2 ddof eps a X y (Γ1_ t) (γ_ t) (β_ t) (Γ2_ t)).
  Notation dΓ1 := (dΓ1 N p1 p2 ddof eps a a' X y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dγ := (dγ N p1 p2 ddof eps a a' X y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dβ := (dβ N p1 p2 ddof eps a a' X y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dΓ2 := (dΓ2 N p1 p2 ddof eps a X y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).

  Hypothesis rows : INR N <> 0.
  Hypothesis divisor : INR N - ddof <> 0.
  Hypothesis positive : forall j, (j < p2)%nat -> 0 < variance N p1 ddof eps X (Γ1_ t0) j.
  Hypothesis differentiable :
    forall i j, (i < N)%nat -> (j < p2)%nat -> is_derive a (B t0 i j) (a' (B t0 i j)).
  Hypothesis HΓ1 : forall k j, (k < p1)%nat -> (j < p2)%nat -> is_derive (Γ1 k j) t0 (Γ1' k j).
  Hypothesis Hγ : forall j, (j < p2)%nat -> is_derive (γ j) t0 (γ' j).
  Hypothesis Hβ : forall j, (j < p2)%nat -> is_derive (β j) t0 (β' j).
  Hypothesis HΓ2 : forall j, (j < p2)%nat -> is_derive (Γ2 j) t0 (Γ2' j).

  Theorem risk_gradient :
    is_derive (fun t => Risk t) t0
      ((Σ (k < p1) Σ (j < p2) dΓ1 k j * Γ1' k j) + (Σ (j < p2) dγ j * γ' j) + (Σ (j < p2) dβ j * β' j)
       + Σ (j < p2) dΓ2 j * Γ2' j).
  Proof.
    pose proof (risk_gradient_X N p1 p2 ddof eps a a' y t0 (fun i k _ => X i k) Γ1 γ β Γ2 (fun _ _ => 0) Γ1' γ' β' Γ2'
      rows divisor positive differentiable HΓ1 Hγ Hβ HΓ2) as H.
    rewrite sum_times_00, Rplus_0_r in H. apply H.
    intros. apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule)).
  Qed.
End Parameters.

(* u with entry j, or M with entry k, j, replaced by v. *)
Definition set (u : nat -> R) (j : nat) (v : R) (l : nat) : R := if Nat.eqb l j then v else u l.
Definition set2 (M : nat -> nat -> R) (k j : nat) (v : R) (m : nat) : nat -> R :=
  if Nat.eqb m k then set (M k) j v else M m.

Lemma set_same u j : set u j (u j) = u.
Proof.
  apply functional_extensionality. intros l. unfold set. destruct (Nat.eqb_spec l j) as [->|]; reflexivity.
Qed.

Lemma set2_same M k j : set2 M k j (M k j) = M.
Proof.
  apply functional_extensionality. intros m. unfold set2.
  destruct (Nat.eqb_spec m k) as [->|]; [apply set_same|reflexivity].
Qed.

Lemma derive_set u j t l : is_derive (fun v => set u j v l) t (δ l j).
Proof.
  unfold set, δ. destruct (Nat.eqb l j).
  - apply (is_derive_id (K := R_AbsRing)).
  - apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule)).
Qed.

Lemma derive_set2 M k j t m l : is_derive (fun v => set2 M k j v m l) t (δ m k * δ l j).
Proof.
  unfold set2. destruct (Nat.eqb_spec m k) as [->|E].
  - rewrite δ_same, Rmult_1_l. apply derive_set.
  - rewrite δ_other, Rmult_0_l by exact E. apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule)).
Qed.

Lemma sum_times_δ q u j : (j < q)%nat -> Σ (l < q) u l * δ l j = u j.
Proof. intros H. rewrite <- (sum_δ q u j H). apply sum_ext. intros; ring. Qed.

Lemma sum_times_δ2 p q (u : nat -> nat -> R) k j : (k < p)%nat -> (j < q)%nat ->
  Σ (m < p) Σ (l < q) u m l * (δ m k * δ l j) = u k j.
Proof.
  intros Hk Hj. rewrite <- (sum_times_δ p (fun m => u m j) k Hk). apply sum_ext. intros m _.
  rewrite <- (sum_times_δ q (fun l => u m l) j Hj), <- sum_scal_r. apply sum_ext. intros; ring.
Qed.

(* The partial derivatives: one entry moves, all others stay. *)
Section Partial.
  Variables (N p1 p2 : nat) (ddof eps : R) (a a' : R -> R) (X : nat -> nat -> R) (y : nat -> R).
  Variables (Γ1 : nat -> nat -> R) (γ β Γ2 : nat -> R).

  Notation Risk := (Risk N p1 p2 ddof eps a).

  Hypothesis rows : INR N <> 0.
  Hypothesis divisor : INR N - ddof <> 0.
  Hypothesis positive : forall j, (j < p2)%nat -> 0 < variance N p1 ddof eps X Γ1 j.
  Hypothesis differentiable :
    forall i j, (i < N)%nat -> (j < p2)%nat ->
    is_derive a (B N p1 ddof eps X Γ1 γ β i j) (a' (B N p1 ddof eps X Γ1 γ β i j)).

  Ltac const := intros; apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule)).

  Corollary partial_Γ1 k j : (k < p1)%nat -> (j < p2)%nat ->
    is_derive (fun v => Risk X y (set2 Γ1 k j v) γ β Γ2) (Γ1 k j)
      (dΓ1 N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 k j).
  Proof.
    intros Hk Hj.
    pose proof (risk_gradient N p1 p2 ddof eps a a' X y (Γ1 k j) (fun m l v => set2 Γ1 k j v m l)
      (fun l _ => γ l) (fun l _ => β l) (fun l _ => Γ2 l) (fun m l => δ m k * δ l j)
      (fun _ => 0) (fun _ => 0) (fun _ => 0) rows divisor) as H.
    cbv beta in H.
    change (fun m l => set2 Γ1 k j (Γ1 k j) m l) with (set2 Γ1 k j (Γ1 k j)) in H.
    rewrite set2_same, sum_times_δ2, !sum_times_0, !Rplus_0_r in H by assumption.
    apply H; auto; try const. intros; apply derive_set2.
  Qed.

  Corollary partial_γ j : (j < p2)%nat ->
    is_derive (fun v => Risk X y Γ1 (set γ j v) β Γ2) (γ j) (dγ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 j).
  Proof.
    intros Hj.
    pose proof (risk_gradient N p1 p2 ddof eps a a' X y (γ j) (fun m l _ => Γ1 m l)
      (fun l v => set γ j v l) (fun l _ => β l) (fun l _ => Γ2 l) (fun _ _ => 0)
      (fun l => δ l j) (fun _ => 0) (fun _ => 0) rows divisor) as H.
    cbv beta in H. change (fun l => set γ j (γ j) l) with (set γ j (γ j)) in H.
    rewrite set_same, sum_times_00, sum_times_δ, !sum_times_0, !Rplus_0_r, Rplus_0_l in H by assumption.
    apply H; auto; try const. intros; apply derive_set.
  Qed.

  Corollary partial_β j : (j < p2)%nat ->
    is_derive (fun v => Risk X y Γ1 γ (set β j v) Γ2) (β j) (dβ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 j).
  Proof.
    intros Hj.
    pose proof (risk_gradient N p1 p2 ddof eps a a' X y (β j) (fun m l _ => Γ1 m l)
      (fun l _ => γ l) (fun l v => set β j v l) (fun l _ => Γ2 l) (fun _ _ => 0)
      (fun _ => 0) (fun l => δ l j) (fun _ => 0) rows divisor) as H.
    cbv beta in H. change (fun l => set β j (β j) l) with (set β j (β j)) in H.
    rewrite set_same, sum_times_00, sum_times_δ, !sum_times_0, !Rplus_0_r, !Rplus_0_l in H by assumption.
    apply H; auto; try const. intros; apply derive_set.
  Qed.

  Corollary partial_Γ2 j : (j < p2)%nat ->
    is_derive (fun v => Risk X y Γ1 γ β (set Γ2 j v)) (Γ2 j) (dΓ2 N p1 p2 ddof eps a X y Γ1 γ β Γ2 j).
  Proof.
    intros Hj.
    pose proof (risk_gradient N p1 p2 ddof eps a a' X y (Γ2 j) (fun m l _ => Γ1 m l)
      (fun l _ => γ l) (fun l _ => β l) (fun l v => set Γ2 j v l) (fun _ _ => 0)
      (fun _ => 0) (fun _ => 0) (fun l => δ l j) rows divisor) as H.
    cbv beta in H. change (fun l => set Γ2 j (Γ2 j) l) with (set Γ2 j (Γ2 j)) in H.
    rewrite set_same, sum_times_00, sum_times_δ, !sum_times_0, !Rplus_0_l in H by assumption.
    apply H; auto; try const. intros; apply derive_set.
  Qed.

  Corollary partial_X i k : (i < N)%nat -> (k < p1)%nat ->
    is_derive (fun v => Risk (set2 X i k v) y Γ1 γ β Γ2) (X i k) (dX N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 i k).
  Proof.
    intros Hi Hk.
    pose proof (risk_gradient_X N p1 p2 ddof eps a a' y (X i k) (fun m l v => set2 X i k v m l) (fun m l _ => Γ1 m l)
      (fun l _ => γ l) (fun l _ => β l) (fun l _ => Γ2 l) (fun m l => δ m i * δ l k) (fun _ _ => 0)
      (fun _ => 0) (fun _ => 0) (fun _ => 0) rows divisor) as H.
    cbv beta in H. change (fun m l => set2 X i k (X i k) m l) with (set2 X i k (X i k)) in H.
    rewrite set2_same, sum_times_00, sum_times_δ2, !sum_times_0, !Rplus_0_l in H by assumption.
    apply H; auto; try const. intros; apply derive_set2.
  Qed.
End Partial.

(* Data that fulfil all that is assumed exist: two rows, X = (0, 1)ᵀ, one input, one node, Γ1 = 1, ddof 1, eps 0. *)
Example data_exist :
  let X := fun i (k : nat) => INR i in
  let Γ1 := fun (k j : nat) => 1 in
  INR 2 <> 0 /\ INR 2 - 1 <> 0 /\ (forall j, (j < 1)%nat -> 0 < variance 2 1 1 0 X Γ1 j) /\
  (forall i j, (i < 2)%nat -> (j < 1)%nat ->
   is_derive (fun v => v) (B 2 1 1 0 X Γ1 (fun _ => 1) (fun _ => 0) i j) 1).
Proof.
  cbv zeta. split; [simpl; lra|split; [simpl; lra|split; intros]].
  - unfold variance, μ, Z. simpl. match goal with |- 0 < ?v => replace v with (1 / 2) by field end. lra.
  - apply (is_derive_id (K := R_AbsRing)).
Qed.

(* With frozen statistics: μ and σ² are given, s = sqrt(σ² + eps), X̂ = (Z - μ)/s, and dZ = (γ/s) ⊙ S. *)
Module Frozen.
Section Definitions.
  Variables (N p1 p2 : nat) (eps : R) (μ σ2 : nat -> R) (a a' : R -> R) (X : nat -> nat -> R) (y : nat -> R).
  Variables (Γ1 : nat -> nat -> R) (γ β Γ2 : nat -> R).

  Definition s (j : nat) : R := sqrt (σ2 j + eps).
  Definition Xhat (i j : nat) : R := (Z p1 X Γ1 i j - μ j) / s j.
  Definition B (i j : nat) : R := γ j * Xhat i j + β j.
  Definition A (i j : nat) : R := a (B i j).
  Definition yhat (i : nat) : R := Σ (j < p2) A i j * Γ2 j.
  Definition e (i : nat) : R := y i - yhat i.
  Definition Risk : R := (Σ (i < N) e i ^ 2) / INR N.

  Definition stub (i j : nat) : R := - (2 / INR N) * (e i * Γ2 j) * a' (B i j).
  Definition dβ (j : nat) : R := Σ (i < N) stub i j.
  Definition dγ (j : nat) : R := Σ (i < N) stub i j * Xhat i j.
  Definition dΓ2 (j : nat) : R := - (2 / INR N) * (Σ (i < N) A i j * e i).
  Definition dZ (i j : nat) : R := γ j / s j * stub i j.
  Definition dΓ1 (k j : nat) : R := Σ (i < N) X i k * dZ i j.
  Definition dX (i k : nat) : R := Σ (j < p2) dZ i j * Γ1 k j.
End Definitions.
End Frozen.

Section FrozenGradient.
  Variables (N p1 p2 : nat) (eps : R) (μ σ2 : nat -> R) (a a' : R -> R) (y : nat -> R) (t0 : R).
  Variables (X Γ1 : nat -> nat -> R -> R) (γ β Γ2 : nat -> R -> R).
  Variables (X' Γ1' : nat -> nat -> R) (γ' β' Γ2' : nat -> R).

  Notation X_ t := (fun i k => X i k t).
  Notation Γ1_ t := (fun k j => Γ1 k j t).
  Notation γ_ t := (fun j => γ j t).
  Notation β_ t := (fun j => β j t).
  Notation Γ2_ t := (fun j => Γ2 j t).
  Notation B t := (Frozen.B p1 eps μ σ2 (X_ t) (Γ1_ t) (γ_ t) (β_ t)).
  Notation A t := (Frozen.A p1 eps μ σ2 a (X_ t) (Γ1_ t) (γ_ t) (β_ t)).
  Notation Risk t := (Frozen.Risk N p1 p2 eps μ σ2 a (X_ t) y (Γ1_ t) (γ_ t) (β_ t) (Γ2_ t)).
  Notation dΓ1 := (Frozen.dΓ1 N p1 p2 eps μ σ2 a a' (X_ t0) y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dγ := (Frozen.dγ N p1 p2 eps μ σ2 a a' (X_ t0) y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dβ := (Frozen.dβ N p1 p2 eps μ σ2 a a' (X_ t0) y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dΓ2 := (Frozen.dΓ2 N p1 p2 eps μ σ2 a (X_ t0) y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dX := (Frozen.dX N p1 p2 eps μ σ2 a a' (X_ t0) y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).

  Hypothesis rows : INR N <> 0.
  Hypothesis positive : forall j, (j < p2)%nat -> 0 < σ2 j + eps.
  Hypothesis differentiable :
    forall i j, (i < N)%nat -> (j < p2)%nat -> is_derive a (B t0 i j) (a' (B t0 i j)).
  Hypothesis HX : forall i k, (i < N)%nat -> (k < p1)%nat -> is_derive (X i k) t0 (X' i k).
  Hypothesis HΓ1 : forall k j, (k < p1)%nat -> (j < p2)%nat -> is_derive (Γ1 k j) t0 (Γ1' k j).
  Hypothesis Hγ : forall j, (j < p2)%nat -> is_derive (γ j) t0 (γ' j).
  Hypothesis Hβ : forall j, (j < p2)%nat -> is_derive (β j) t0 (β' j).
  Hypothesis HΓ2 : forall j, (j < p2)%nat -> is_derive (Γ2 j) t0 (Γ2' j).

  Theorem risk_gradient_frozen :
    is_derive (fun t => Risk t) t0
      ((Σ (k < p1) Σ (j < p2) dΓ1 k j * Γ1' k j) + (Σ (j < p2) dγ j * γ' j) + (Σ (j < p2) dβ j * β' j)
       + (Σ (j < p2) dΓ2 j * Γ2' j) + Σ (i < N) Σ (k < p1) dX i k * X' i k).
  Proof.
    pose proof (head_backward N p2 t0 y (fun i j t => A t i j) Γ2
      (frozen_A' p1 eps t0 μ σ2 a' X Γ1 γ β X' Γ1' γ' β') Γ2' rows) as H.
    rewrite (frozen_layer_backward N p1 p2 eps t0 μ σ2 a' X Γ1 γ β X' Γ1' γ' β' positive) in H.
    match type of H with _ -> _ -> is_derive _ _ ?l => match goal with |- is_derive _ _ ?r => replace r with l end end.
    - apply H; [|exact HΓ2]. intros i j Hi Hj.
      now apply (derive_frozen_A N p1 p2 eps t0 μ σ2 a a' X Γ1 γ β X' Γ1' γ' β').
    - match goal with |- ?u1 + ?u2 + ?u3 + ?u4 + ?u5 = ?v1 + ?v2 + ?v3 + ?v4 + ?v5 =>
        change v1 with u1; change v2 with u2; change v3 with u3; change v4 with u5; change v5 with u4 end.
      ring.
  Qed.
End FrozenGradient.

(* Without normalisation: B = Z, no γ, no β, and dZ = S. *)
Module Plain.
Section Definitions.
  Variables (N p1 p2 : nat) (a a' : R -> R) (X : nat -> nat -> R) (y : nat -> R).
  Variables (Γ1 : nat -> nat -> R) (Γ2 : nat -> R).

  Definition A (i j : nat) : R := a (Z p1 X Γ1 i j).
  Definition yhat (i : nat) : R := Σ (j < p2) A i j * Γ2 j.
  Definition e (i : nat) : R := y i - yhat i.
  Definition Risk : R := (Σ (i < N) e i ^ 2) / INR N.

  Definition stub (i j : nat) : R := - (2 / INR N) * (e i * Γ2 j) * a' (Z p1 X Γ1 i j).
  Definition dΓ2 (j : nat) : R := - (2 / INR N) * (Σ (i < N) A i j * e i).
  Definition dΓ1 (k j : nat) : R := Σ (i < N) X i k * stub i j.
  Definition dX (i k : nat) : R := Σ (j < p2) stub i j * Γ1 k j.
End Definitions.
End Plain.

Section PlainGradient.
  Variables (N p1 p2 : nat) (a a' : R -> R) (y : nat -> R) (t0 : R).
  Variables (X Γ1 : nat -> nat -> R -> R) (Γ2 : nat -> R -> R) (X' Γ1' : nat -> nat -> R) (Γ2' : nat -> R).

  Notation X_ t := (fun i k => X i k t).
  Notation Γ1_ t := (fun k j => Γ1 k j t).
  Notation Γ2_ t := (fun j => Γ2 j t).
  Notation Z t := (Z p1 (X_ t) (Γ1_ t)).
  Notation A t := (Plain.A p1 a (X_ t) (Γ1_ t)).
  Notation Risk t := (Plain.Risk N p1 p2 a (X_ t) y (Γ1_ t) (Γ2_ t)).
  Notation dΓ1 := (Plain.dΓ1 N p1 p2 a a' (X_ t0) y (Γ1_ t0) (Γ2_ t0)).
  Notation dΓ2 := (Plain.dΓ2 N p1 p2 a (X_ t0) y (Γ1_ t0) (Γ2_ t0)).
  Notation dX := (Plain.dX N p1 p2 a a' (X_ t0) y (Γ1_ t0) (Γ2_ t0)).

  Hypothesis rows : INR N <> 0.
  Hypothesis differentiable :
    forall i j, (i < N)%nat -> (j < p2)%nat -> is_derive a (Z t0 i j) (a' (Z t0 i j)).
  Hypothesis HX : forall i k, (i < N)%nat -> (k < p1)%nat -> is_derive (X i k) t0 (X' i k).
  Hypothesis HΓ1 : forall k j, (k < p1)%nat -> (j < p2)%nat -> is_derive (Γ1 k j) t0 (Γ1' k j).
  Hypothesis HΓ2 : forall j, (j < p2)%nat -> is_derive (Γ2 j) t0 (Γ2' j).

  Theorem risk_gradient_plain :
    is_derive (fun t => Risk t) t0
      ((Σ (k < p1) Σ (j < p2) dΓ1 k j * Γ1' k j) + (Σ (j < p2) dΓ2 j * Γ2' j)
       + Σ (i < N) Σ (k < p1) dX i k * X' i k).
  Proof.
    pose proof (head_backward N p2 t0 y (fun i j t => A t i j) Γ2
      (plain_A' p1 t0 a' X Γ1 X' Γ1') Γ2' rows) as H.
    rewrite (plain_layer_backward N p1 p2 t0 a' X Γ1 X' Γ1') in H.
    match type of H with _ -> _ -> is_derive _ _ ?l => match goal with |- is_derive _ _ ?r => replace r with l end end.
    - apply H; [|exact HΓ2]. intros i j Hi Hj.
      now apply (derive_plain_A N p1 p2 t0 a a' X Γ1 X' Γ1').
    - match goal with |- ?u1 + ?u2 + ?u3 = ?v1 + ?v2 + ?v3 =>
        change v1 with u1; change v2 with u3; change v3 with u2 end.
      ring.
  Qed.
End PlainGradient.
