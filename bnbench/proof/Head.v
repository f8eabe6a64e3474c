(* The head and the losses: η = A Γ_out + W δ + α_unit, any loss R = (1/N) Σ ℓ(y, η), and panel effects.

   slope_of_risk      R moves by Σ r η', with r_i = ℓ'(y_i, η_i)/N: r is ∂R/∂η
   squared_slope, logistic_slope, poisson_slope   r of the three losses, nothing assumed
   head_gradient      ∂A = r Γ_outᵀ,  ∂Γ_out = Aᵀ r,  ∂δ = Wᵀ r,  ∂α_v = the sum of r over unit v
   head_gradient_profiled    where r adds up to 0 in every unit, what moves α moves R by nothing
   first_order_condition     r adds up to 0 in every unit where α minimises R; and
   first_order_condition_suffices   α minimises R there, for a loss above its tangents: all three are
   squared_effect_minimises, poisson_effect_minimises, logistic_effect_minimises   the best α of the three losses;
   poisson_effect_none, logistic_effect_none   and where there is none
   envelope_theorem   R at the best α has the head's gradient with r taken there, for any loss above its tangents
   squared_profiled_gradient   for the squared loss that is ‖M (y - W δ - A Γ_out)‖²/N, and r = -(2/N) ε̃, ε̃ = M ε̂
   poisson_profiled_gradient, logistic_profiled_gradient   and so for the other two
   effects_are_linear_terms    α is a δ, with the dummies for its W
   demeaning_is_projection     M = I - D (DᵀD)⁻¹ Dᵀ takes each unit's mean off

   There are N rows, p nodes in the layer below, q linear terms and U units; row i belongs to unit unit_of i.  A, Γ_out,
   δ and α move along curves in t (y and W are data); ' marks the derivative at t0.  Notations with t are of what moves,
   at t.  Without linear terms q is 0; without panel effects α is 0. *)
From Coq Require Import Reals Lra Lia FunctionalExtensionality.
From Coquelicot Require Import Coquelicot.
From bnbench Require Import Sums.
From bnbench Require OneLayer.
Open Scope R_scope.

Section Definitions.
  Variables (N p q : nat) (A W : nat -> nat -> R) (Γout δ : nat -> R) (unit_of : nat -> nat) (α : nat -> R).

  (* η = A Γ_out + W δ + α_unit *)
  Definition η (i : nat) : R := (Σ (j < p) A i j * Γout j) + (Σ (k < q) W i k * δ k) + α (unit_of i).

  (* R = (1/N) Σ ℓ(y, η), and its slope r = ∂R/∂η, where ℓ' is the derivative of ℓ in η. *)
  Definition Risk (ℓ : R -> R -> R) (y η : nat -> R) : R := (Σ (i < N) ℓ (y i) (η i)) / INR N.
  Definition r (ℓ' : R -> R -> R) (y η : nat -> R) (i : nat) : R := ℓ' (y i) (η i) / INR N.

  (* The sum of w over the rows of unit v. *)
  Definition unit_sum (v : nat) (w : nat -> R) : R := Σ (i < N) (if Nat.eqb (unit_of i) v then w i else 0).

  (* Of r:  ∂A = r Γ_outᵀ,  ∂Γ_out = Aᵀ r,  ∂δ = Wᵀ r,  ∂α_v = the sum of r over unit v *)
  Definition dA (r : nat -> R) (i j : nat) : R := r i * Γout j.
  Definition dΓout (r : nat -> R) (j : nat) : R := Σ (i < N) A i j * r i.
  Definition dδ (r : nat -> R) (k : nat) : R := Σ (i < N) W i k * r i.
  Definition dα (r : nat -> R) (v : nat) : R := unit_sum v r.
End Definitions.

(* The three losses of one row, and their derivatives in η. *)
Definition σ (η : R) : R := 1 / (1 + exp (- η)).
Definition squared (y η : R) : R := (y - η) ^ 2.
Definition squared' (y η : R) : R := - 2 * (y - η).
Definition logistic (y η : R) : R := ln (1 + exp η) - y * η.
Definition logistic' (y η : R) : R := σ η - y.
Definition poisson (y η : R) : R := exp η - y * η.
Definition poisson' (y η : R) : R := exp η - y.

(* Sums over units. *)
Section Units.
  Variables (N U : nat) (unit_of : nat -> nat).
  Hypothesis units : forall i, (i < N)%nat -> (unit_of i < U)%nat.
  Notation unit_sum := (unit_sum N unit_of).

  (* A sum over the rows, with a factor that each unit has one of, is a sum over the units. *)
  Lemma sum_by_units (c w : nat -> R) : Σ (i < N) w i * c (unit_of i) = Σ (v < U) unit_sum v w * c v.
  Proof.
    transitivity (Σ (i < N) Σ (v < U) δ v (unit_of i) * (w i * c v)).
    - apply sum_ext. intros i Hi. symmetry. apply (sum_δ U (fun v => w i * c v)). now apply units.
    - rewrite sum_swap. apply sum_ext. intros v _. unfold Head.unit_sum. rewrite <- sum_scal_r.
      apply sum_ext. intros i _. unfold Sums.δ. rewrite Nat.eqb_sym. destruct (Nat.eqb (unit_of i) v); ring.
  Qed.

  Lemma unit_sum_ext v u w : (forall i, (i < N)%nat -> unit_of i = v -> u i = w i) -> unit_sum v u = unit_sum v w.
  Proof.
    intros H. apply sum_ext. intros i Hi. destruct (Nat.eqb (unit_of i) v) eqn:E; [|reflexivity].
    apply H; [exact Hi|]. now apply Nat.eqb_eq.
  Qed.

  Lemma unit_sum_scal v c w : unit_sum v (fun i => c * w i) = c * unit_sum v w.
  Proof.
    unfold Head.unit_sum. rewrite <- sum_scal_l. apply sum_ext. intros i _.
    destruct (Nat.eqb (unit_of i) v); ring.
  Qed.

  Lemma unit_sum_plus v u w : unit_sum v (fun i => u i + w i) = unit_sum v u + unit_sum v w.
  Proof.
    unfold Head.unit_sum. rewrite <- sum_plus. apply sum_ext. intros i _. destruct (Nat.eqb (unit_of i) v); ring.
  Qed.

  Lemma unit_sum_minus v u w : unit_sum v (fun i => u i - w i) = unit_sum v u - unit_sum v w.
  Proof.
    unfold Head.unit_sum. rewrite <- sum_minus. apply sum_ext. intros i _. destruct (Nat.eqb (unit_of i) v); ring.
  Qed.

  (* All units together are all rows. *)
  Lemma sum_of_units w : sum N w = Σ (v < U) unit_sum v w.
  Proof.
    rewrite (sum_ext N w (fun i => w i * 1)) by (intros; ring). rewrite (sum_by_units (fun _ => 1)).
    apply sum_ext. intros; ring.
  Qed.

  Lemma derive_unit_sum v (w : nat -> R -> R) w' t :
    (forall i, (i < N)%nat -> is_derive (w i) t (w' i)) ->
    is_derive (fun x => unit_sum v (fun i => w i x)) t (unit_sum v w').
  Proof.
    intros H. apply (derive_sum N (fun i x => if Nat.eqb (unit_of i) v then w i x else 0)). intros i Hi.
    destruct (Nat.eqb (unit_of i) v); [now apply H|].
    apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule)).
  Qed.

  (* A unit has rows, or it has none. *)
  Lemma rows_or_none v :
    (exists i, (i < N)%nat /\ unit_of i = v) \/ (forall i, (i < N)%nat -> unit_of i <> v).
  Proof.
    clear units. induction N as [|m [[i [Hi E]]|IH]].
    - right. intros; lia.
    - left. exists i. split; [lia|exact E].
    - destruct (Nat.eq_dec (unit_of m) v) as [E|E].
      + left. exists m. split; [lia|exact E].
      + right. intros i Hi. destruct (Nat.eq_dec i m) as [->|]; [exact E|apply IH; lia].
  Qed.

  Lemma unit_sum_none v w : (forall i, (i < N)%nat -> unit_of i <> v) -> unit_sum v w = 0.
  Proof.
    intros H. transitivity (Σ (i < N) 0); [|apply sum_zero].
    apply sum_ext. intros i Hi. now rewrite (proj2 (Nat.eqb_neq _ _) (H i Hi)).
  Qed.

  (* A sum of entries that are positive is positive where the unit has rows. *)
  Lemma unit_sum_positive i w :
    (forall l, (l < N)%nat -> 0 < w l) -> (i < N)%nat -> 0 < unit_sum (unit_of i) w.
  Proof.
    unfold Head.unit_sum. clear units. intros Hw. induction N as [|m IH]; intros Hi; [lia|]. simpl.
    assert (Hm : 0 <= if Nat.eqb (unit_of m) (unit_of i) then w m else 0).
    { destruct (Nat.eqb (unit_of m) (unit_of i)); [apply Rlt_le, Hw; lia|lra]. }
    destruct (Nat.eq_dec i m) as [->|E].
    - rewrite Nat.eqb_refl. assert (0 < w m) by (apply Hw; lia).
      assert (0 <= Σ (l < m) (if Nat.eqb (unit_of l) (unit_of m) then w l else 0)); [|lra].
      apply sum_nonneg. intros l Hl. destruct (Nat.eqb (unit_of l) (unit_of m)); [apply Rlt_le, Hw; lia|lra].
    - assert (0 < Σ (l < m) (if Nat.eqb (unit_of l) (unit_of i) then w l else 0)); [|lra].
      apply IH; [intros; apply Hw|]; lia.
  Qed.
End Units.

(* r is the slope of R in η: whatever moves η, R moves by Σ r η'. *)
Theorem slope_of_risk N (ℓ ℓ' : R -> R -> R) (y : nat -> R) (η : nat -> R -> R) (η' : nat -> R) t0 :
  (forall i, (i < N)%nat -> is_derive (ℓ (y i)) (η i t0) (ℓ' (y i) (η i t0))) ->
  (forall i, (i < N)%nat -> is_derive (η i) t0 (η' i)) ->
  is_derive (fun t => Risk N ℓ y (fun i => η i t)) t0 (Σ (i < N) r N ℓ' y (fun i => η i t0) i * η' i).
Proof.
  intros Hℓ Hη.
  rewrite (sum_ext N _ (fun i => ℓ' (y i) (η i t0) * η' i / INR N)) by (intros; unfold r, Rdiv; ring).
  rewrite sum_div. apply (derive_div (fun t => Σ (i < N) ℓ (y i) (η i t))).
  apply (derive_sum N (fun i t => ℓ (y i) (η i t))). intros i Hi.
  apply (derive_through (η i)); [now apply Hη|now apply Hℓ].
Qed.

Section Gradient.
  Variables (N p q U : nat) (W : nat -> nat -> R) (y : nat -> R) (unit_of : nat -> nat) (t0 : R).
  Variables (A : nat -> nat -> R -> R) (Γout δ α : nat -> R -> R).
  Variables (A' : nat -> nat -> R) (Γout' δ' α' : nat -> R).
  Hypothesis units : forall i, (i < N)%nat -> (unit_of i < U)%nat.
  Hypothesis HA : forall i j, (i < N)%nat -> (j < p)%nat -> is_derive (A i j) t0 (A' i j).
  Hypothesis HΓout : forall j, (j < p)%nat -> is_derive (Γout j) t0 (Γout' j).
  Hypothesis Hδ : forall k, (k < q)%nat -> is_derive (δ k) t0 (δ' k).
  Hypothesis Hα : forall v, (v < U)%nat -> is_derive (α v) t0 (α' v).

  Notation A_ t := (fun i j => A i j t).
  Notation Γout_ t := (fun j => Γout j t).
  Notation δ_ t := (fun k => δ k t).
  Notation α_ t := (fun v => α v t).
  Notation η_ t := (η p q (A_ t) W (Γout_ t) (δ_ t) unit_of (α_ t)).
  Notation unit_sum := (unit_sum N unit_of).

  (* η' = A' Γ_out + A Γ_out' + W δ' + α'_unit *)
  Definition η' (i : nat) : R :=
    (Σ (j < p) (A' i j * Γout j t0 + A i j t0 * Γout' j)) + (Σ (k < q) W i k * δ' k) + α' (unit_of i).

  Lemma derive_η i : (i < N)%nat -> is_derive (fun t => η_ t i) t0 (η' i).
  Proof.
    intros Hi.
    apply (derive_plus (fun t => (Σ (j < p) A i j t * Γout j t) + Σ (k < q) W i k * δ k t) (α (unit_of i)));
      [|now apply Hα, units].
    apply (derive_plus (fun t => Σ (j < p) A i j t * Γout j t) (fun t => Σ (k < q) W i k * δ k t)).
    - apply (derive_sum p (fun j t => A i j t * Γout j t)). intros j Hj.
      apply (derive_times (A i j) (Γout j)); auto.
    - apply (derive_sum q (fun k t => W i k * δ k t)). intros k Hk. apply (derive_scal (δ k)). now apply Hδ.
  Qed.

  (* Σ r η' is r's gradients times the directions, for any r. *)
  Lemma slope_through_head (r : nat -> R) :
    Σ (i < N) r i * η' i
    = (Σ (i < N) Σ (j < p) dA (Γout_ t0) r i j * A' i j)
      + (Σ (j < p) dΓout N (A_ t0) r j * Γout' j)
      + (Σ (k < q) dδ N W r k * δ' k)
      + Σ (v < U) dα N unit_of r v * α' v.
  Proof.
    unfold η'.
    rewrite (sum_ext N _ (fun i => (Σ (j < p) dA (Γout_ t0) r i j * A' i j)
      + (Σ (j < p) r i * (A i j t0 * Γout' j)) + (Σ (k < q) r i * (W i k * δ' k)) + r i * α' (unit_of i))).
    2: { intros i _. rewrite sum_plus, !sum_scal_l.
         rewrite (sum_ext p (fun j => dA (Γout_ t0) r i j * A' i j) (fun j => r i * (A' i j * Γout j t0)))
           by (intros; unfold dA; ring).
         rewrite sum_scal_l. ring. }
    rewrite !sum_plus, (sum_by_units N U unit_of units).
    f_equal; f_equal; [f_equal|].
    - rewrite sum_swap. apply sum_ext. intros j _. unfold dΓout. rewrite <- sum_scal_r.
      apply sum_ext. intros; ring.
    - rewrite sum_swap. apply sum_ext. intros k _. unfold dδ. rewrite <- sum_scal_r.
      apply sum_ext. intros; ring.
  Qed.

  Section Loss.
    Variables (ℓ ℓ' : R -> R -> R).
    Hypothesis Hℓ : forall i, (i < N)%nat -> is_derive (ℓ (y i)) (η_ t0 i) (ℓ' (y i) (η_ t0 i)).
    Notation r := (r N ℓ' y (η_ t0)).

    (* The gradient of the head, for any loss: R moves with A, Γ_out, δ and α by gradient times direction. *)
    Theorem head_gradient :
      is_derive (fun t => Risk N ℓ y (η_ t)) t0
        ((Σ (i < N) Σ (j < p) dA (Γout_ t0) r i j * A' i j)
         + (Σ (j < p) dΓout N (A_ t0) r j * Γout' j)
         + (Σ (k < q) dδ N W r k * δ' k)
         + Σ (v < U) dα N unit_of r v * α' v).
    Proof.
      rewrite <- (slope_through_head r).
      apply (slope_of_risk N ℓ ℓ' y (fun i t => η_ t i) η'); [exact Hℓ|exact derive_η].
    Qed.

    (* The envelope theorem: where r adds up to 0 in every unit, what moves α moves R by nothing. *)
    Theorem head_gradient_profiled :
      (forall v, (v < U)%nat -> unit_sum v r = 0) ->
      is_derive (fun t => Risk N ℓ y (η_ t)) t0
        ((Σ (i < N) Σ (j < p) dA (Γout_ t0) r i j * A' i j)
         + (Σ (j < p) dΓout N (A_ t0) r j * Γout' j)
         + (Σ (k < q) dδ N W r k * δ' k)).
    Proof.
      intros first_order.
      replace (_ + _ + _) with ((Σ (i < N) Σ (j < p) dA (Γout_ t0) r i j * A' i j)
         + (Σ (j < p) dΓout N (A_ t0) r j * Γout' j) + (Σ (k < q) dδ N W r k * δ' k)
         + Σ (v < U) dα N unit_of r v * α' v); [exact head_gradient|].
      rewrite (sum_ext U _ (fun _ => 0)), sum_zero; [reals; ring|].
      intros v Hv. unfold dα. rewrite first_order by exact Hv. ring.
    Qed.
  End Loss.
End Gradient.

(* The partial derivatives: one entry of Γ_out or δ moves, all others stay. *)
Section Partial.
  Variables (N p q : nat) (A W : nat -> nat -> R) (Γout δ : nat -> R) (y : nat -> R) (unit_of : nat -> nat).
  Variables (α : nat -> R) (ℓ ℓ' : R -> R -> R).
  Notation set := OneLayer.set.
  Notation η_ := (η p q A W Γout δ unit_of α).
  Hypothesis Hℓ : forall i, (i < N)%nat -> is_derive (ℓ (y i)) (η_ i) (ℓ' (y i) (η_ i)).

  Ltac const := intros; apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule)).

  (* How the units are numbered does not matter here: there is a number above all of them. *)
  Lemma unit_bound : exists U, forall i, (i < N)%nat -> (unit_of i < U)%nat.
  Proof.
    clear Hℓ. induction N as [|m [U H]]; [exists 0%nat; intros; lia|].
    exists (Nat.max U (S (unit_of m))). intros i Hi. destruct (Nat.eq_dec i m) as [->|E]; [lia|].
    assert (unit_of i < U)%nat by (apply H; lia). lia.
  Qed.

  Corollary partial_Γout j : (j < p)%nat ->
    is_derive (fun v => Risk N ℓ y (η p q A W (set Γout j v) δ unit_of α)) (Γout j)
      (dΓout N A (r N ℓ' y η_) j).
  Proof.
    intros Hj. destruct unit_bound as [U units].
    pose proof (head_gradient N p q U W y unit_of (Γout j) (fun i l _ => A i l) (fun l v => set Γout j v l)
      (fun l _ => δ l) (fun l _ => α l) (fun _ _ => 0) (fun l => Sums.δ l j) (fun _ => 0) (fun _ => 0) units) as H.
    cbv beta in H. change (fun l => set Γout j (Γout j) l) with (set Γout j (Γout j)) in H.
    rewrite OneLayer.set_same in H. specialize (H ltac:(const) (fun l _ => OneLayer.derive_set Γout j _ l)
      ltac:(const) ltac:(const) ℓ ℓ' Hℓ).
    rewrite OneLayer.sum_times_00, (OneLayer.sum_times_δ p _ j Hj), !OneLayer.sum_times_0, Rplus_0_l, !Rplus_0_r in H.
    exact H.
  Qed.

  Corollary partial_δ k : (k < q)%nat ->
    is_derive (fun v => Risk N ℓ y (η p q A W Γout (set δ k v) unit_of α)) (δ k) (dδ N W (r N ℓ' y η_) k).
  Proof.
    intros Hk. destruct unit_bound as [U units].
    pose proof (head_gradient N p q U W y unit_of (δ k) (fun i l _ => A i l) (fun l _ => Γout l)
      (fun l v => set δ k v l) (fun l _ => α l) (fun _ _ => 0) (fun _ => 0) (fun l => Sums.δ l k) (fun _ => 0) units)
      as H.
    cbv beta in H. change (fun l => set δ k (δ k) l) with (set δ k (δ k)) in H.
    rewrite OneLayer.set_same in H. specialize (H ltac:(const) ltac:(const)
      (fun l _ => OneLayer.derive_set δ k _ l) ltac:(const) ℓ ℓ' Hℓ).
    rewrite OneLayer.sum_times_00, (OneLayer.sum_times_δ q _ k Hk), !OneLayer.sum_times_0, !Rplus_0_l, !Rplus_0_r in H.
    exact H.
  Qed.
End Partial.

(* The slopes of the three losses: r of the table, with nothing assumed. *)
Lemma derive_squared y η : is_derive (squared y) η (squared' y η).
Proof. unfold squared, squared'. auto_derive; [exact I|]. reals. ring. Qed.

Lemma derive_logistic y η : is_derive (logistic y) η (logistic' y η).
Proof.
  pose proof (exp_pos η) as P. unfold logistic, logistic', σ. rewrite exp_Ropp.
  auto_derive; [lra|]. reals. field. lra.
Qed.

Lemma derive_poisson y η : is_derive (poisson y) η (poisson' y η).
Proof. unfold poisson, poisson'. auto_derive; [exact I|]. reals. ring. Qed.

Section Slopes.
  Variables (N : nat) (y : nat -> R) (η : nat -> R -> R) (η' : nat -> R) (t0 : R).
  Hypothesis Hη : forall i, (i < N)%nat -> is_derive (η i) t0 (η' i).

  (* R = Σ (y - η)² / N:  r = -(2/N) (y - η) *)
  Theorem squared_slope :
    is_derive (fun t => (Σ (i < N) (y i - η i t) ^ 2) / INR N) t0
      (Σ (i < N) - (2 / INR N) * (y i - η i t0) * η' i).
  Proof.
    rewrite (sum_ext N _ (fun i => r N squared' y (fun i => η i t0) i * η' i))
      by (intros; unfold r, squared', Rdiv; ring).
    exact (slope_of_risk N squared squared' y η η' t0 (fun i _ => derive_squared (y i) (η i t0)) Hη).
  Qed.

  (* R = Σ (log(1 + e^η) - y η) / N:  r = (σ(η) - y) / N *)
  Theorem logistic_slope :
    is_derive (fun t => (Σ (i < N) (ln (1 + exp (η i t)) - y i * η i t)) / INR N) t0
      (Σ (i < N) (σ (η i t0) - y i) / INR N * η' i).
  Proof. exact (slope_of_risk N logistic logistic' y η η' t0 (fun i _ => derive_logistic (y i) (η i t0)) Hη). Qed.

  (* R = Σ (e^η - y η) / N:  r = (e^η - y) / N *)
  Theorem poisson_slope :
    is_derive (fun t => (Σ (i < N) (exp (η i t) - y i * η i t)) / INR N) t0
      (Σ (i < N) (exp (η i t0) - y i) / INR N * η' i).
  Proof. exact (slope_of_risk N poisson poisson' y η η' t0 (fun i _ => derive_poisson (y i) (η i t0)) Hη). Qed.
End Slopes.

(* The best α of a unit.  Everything but α stands still here: x i is A Γ_out + W δ of row i, so that η = x + α_unit. *)
Section BestEffect.
  Variables (N U : nat) (unit_of : nat -> nat) (y x : nat -> R).
  Hypothesis units : forall i, (i < N)%nat -> (unit_of i < U)%nat.
  Notation unit_sum := (unit_sum N unit_of).
  Notation shifted α := (fun i => x i + α (unit_of i)).

  (* α minimises R: no other α has less. *)
  Definition minimises (ℓ : R -> R -> R) (α : nat -> R) : Prop :=
    forall α', Risk N ℓ y (shifted α) <= Risk N ℓ y (shifted α').

  (* Where α minimises R, r adds up to 0 in every unit, for any loss. *)
  Theorem first_order_condition (ℓ ℓ' : R -> R -> R) (α : nat -> R) :
    (forall i, (i < N)%nat -> is_derive (ℓ (y i)) (shifted α i) (ℓ' (y i) (shifted α i))) ->
    minimises ℓ α ->
    forall v, unit_sum v (r N ℓ' y (shifted α)) = 0.
  Proof.
    intros Hℓ Hmin v.
    set (η := fun i t => x i + (α (unit_of i) + δ (unit_of i) v * t)).
    set (R := fun t => Risk N ℓ y (fun i => η i t)).
    assert (E : shifted α = (fun i => η i 0)).
    { apply functional_extensionality. intros i. unfold η. ring. }
    assert (D : is_derive R 0 (unit_sum v (r N ℓ' y (shifted α)))).
    { replace (unit_sum v _) with (Σ (i < N) r N ℓ' y (fun i => η i 0) i * δ (unit_of i) v).
      - apply slope_of_risk.
        + intros i Hi. pose proof (Hℓ i Hi) as H. cbv beta in H.
          change (x i + α (unit_of i)) with (shifted α i) in H. rewrite E in H. exact H.
        + intros i Hi. unfold η. auto_derive; [exact I|]. reals. ring.
      - rewrite <- E. apply sum_ext. intros i _. unfold δ.
        destruct (Nat.eqb (unit_of i) v); ring. }
    assert (P : derivable_pt R 0) by (eexists; apply is_derive_Reals; exact D).
    rewrite <- (is_derive_unique _ _ _ D), <- (Derive_Reals _ _ P).
    apply (deriv_minimum R (-1) 1 0 P); [lra|lra|].
    intros t _ _. unfold R. rewrite <- E.
    apply (Hmin (fun w => α w + δ w v * t)).
  Qed.

  (* A loss above its tangents: all three are. *)
  Definition above_tangents (ℓ ℓ' : R -> R -> R) : Prop := forall y η d, ℓ y η + ℓ' y η * d <= ℓ y (η + d).

  (* For such a loss the converse holds: where r adds up to 0 in every unit, α minimises R. *)
  Theorem first_order_condition_suffices (ℓ ℓ' : R -> R -> R) (α : nat -> R) :
    above_tangents ℓ ℓ' ->
    (forall v, (v < U)%nat -> unit_sum v (r N ℓ' y (shifted α)) = 0) ->
    minimises ℓ α.
  Proof.
    intros Hℓ first_order α'.
    set (c := fun v => α' v - α v).
    assert (Z : (Σ (i < N) r N ℓ' y (shifted α) i * c (unit_of i)) = 0).
    { rewrite (sum_by_units N U unit_of units), (sum_ext U _ (fun _ => 0)), sum_zero; [reflexivity|].
      intros v Hv. rewrite first_order by exact Hv. ring. }
    destruct (Nat.eq_dec N 0) as [E|HN]; [unfold Risk; rewrite E; simpl; lra|].
    assert (PN : 0 < INR N) by (apply lt_0_INR; lia).
    assert (D : 0 <= Σ (i < N) (ℓ (y i) (shifted α' i) - ℓ (y i) (shifted α i)
                  - ℓ' (y i) (shifted α i) * c (unit_of i))).
    { apply sum_nonneg. intros i _. pose proof (Hℓ (y i) (shifted α i) (c (unit_of i))) as H.
      cbv beta in H.
      replace (x i + α (unit_of i) + c (unit_of i)) with (x i + α' (unit_of i)) in H by (unfold c; ring). lra. }
    rewrite !sum_minus in D.
    assert (E : (Σ (i < N) ℓ' (y i) (shifted α i) * c (unit_of i)) = 0).
    { rewrite <- (Rmult_0_r (INR N)), <- Z, <- sum_scal_l. apply sum_ext. intros i _. unfold r. field. lra. }
    rewrite E in D. unfold Risk, Rdiv. apply Rmult_le_compat_r; [apply Rlt_le, Rinv_0_lt_compat, PN|lra].
  Qed.

  Lemma squared_above_tangents : above_tangents squared squared'.
  Proof. intros b η d. unfold squared, squared'. pose proof (pow2_ge_0 d). nra. Qed.

  Lemma poisson_above_tangents : above_tangents poisson poisson'.
  Proof.
    intros b η d. unfold poisson, poisson'. rewrite exp_plus.
    pose proof (exp_pos η). pose proof (exp_ineq1_le d). nra.
  Qed.

  Lemma logistic_above_tangents : above_tangents logistic logistic'.
  Proof.
    intros b η d. unfold logistic, logistic'. set (w := σ η).
    assert (Eη : exp η <> 0) by (pose proof (exp_pos η); lra). pose proof (exp_pos η) as P.
    assert (Ew : w = exp η / (1 + exp η)) by (unfold w, σ; rewrite exp_Ropp; field; lra).
    assert (W : 0 < w < 1).
    { rewrite Ew. split; [apply Rdiv_lt_0_compat; lra|].
      apply (Rmult_lt_reg_r (1 + exp η)); [lra|]. field_simplify; lra. }
    (* e^(w d) is at most 1 - w + w e^d, for e^u ≥ 1 + u at u = - w d and at u = (1 - w) d. *)
    assert (J : exp (w * d) <= 1 - w + w * exp d).
    { replace (exp (w * d)) with (exp (w * d) * 1) by ring.
      replace (1 - w + w * exp d) with (exp (w * d) * ((1 - w) * exp (- (w * d)) + w * exp ((1 - w) * d))).
      - apply Rmult_le_compat_l; [apply Rlt_le, exp_pos|].
        pose proof (exp_ineq1_le (- (w * d))). pose proof (exp_ineq1_le ((1 - w) * d)). nra.
      - replace (exp d) with (exp (w * d) * exp ((1 - w) * d)) by (rewrite <- exp_plus; f_equal; ring).
        rewrite exp_Ropp. field. pose proof (exp_pos (w * d)); lra. }
    assert (E : 1 + exp (η + d) = (1 + exp η) * (1 - w + w * exp d)).
    { rewrite exp_plus, Ew. field. lra. }
    rewrite E, ln_mult; [|lra|pose proof (exp_pos (w * d)); lra].
    assert (w * d <= ln (1 - w + w * exp d)).
    { rewrite <- (ln_exp (w * d)). destruct J as [J|J]; [|rewrite J; lra].
      apply Rlt_le, ln_increasing; [apply exp_pos|exact J]. }
    lra.
  Qed.

  (* Poisson: α̂ = log(Σ y / Σ e^x) over the unit, where not all y of the unit are 0 (then there is none). *)
  Definition αhat_poisson (v : nat) : R := ln (unit_sum v y / unit_sum v (fun i => exp (x i))).

  Lemma unit_exp_positive v : 0 < unit_sum v y -> 0 < unit_sum v (fun i => exp (x i)).
  Proof.
    intros H. destruct (rows_or_none N unit_of v) as [[i [Hi <-]]|none].
    - apply unit_sum_positive; [intros; apply exp_pos|exact Hi].
    - rewrite unit_sum_none in H by exact none. lra.
  Qed.

  Lemma poisson_first_order v :
    0 < unit_sum v y -> unit_sum v (r N poisson' y (shifted αhat_poisson)) = 0.
  Proof.
    intros Hy. pose proof (unit_exp_positive v Hy) as Hx.
    rewrite (unit_sum_ext N unit_of v _ (fun i => / INR N * (exp (αhat_poisson v) * exp (x i) - y i))).
    - rewrite unit_sum_scal, unit_sum_minus, unit_sum_scal. unfold αhat_poisson.
      rewrite exp_ln by now apply Rdiv_lt_0_compat.
      replace (unit_sum v y / unit_sum v (fun i => exp (x i)) * unit_sum v (fun i => exp (x i)))
        with (unit_sum v y) by (field; lra). ring.
    - intros i _ E. unfold r, poisson', Rdiv. rewrite E, exp_plus. ring.
  Qed.

  Theorem poisson_effect_minimises :
    (forall v, (v < U)%nat -> 0 < unit_sum v y) -> minimises poisson αhat_poisson.
  Proof.
    intros Hy. apply (first_order_condition_suffices poisson poisson'); [exact poisson_above_tangents|].
    intros v Hv. now apply poisson_first_order, Hy.
  Qed.

  (* Where all y of a unit are 0, no α minimises: log(Σ y) has no value there. *)
  Theorem poisson_effect_none i : (i < N)%nat ->
    (forall l, (l < N)%nat -> unit_of l = unit_of i -> y l = 0) -> forall α, ~ minimises poisson α.
  Proof.
    intros Hi Hy α Hmin.
    pose proof (first_order_condition poisson poisson' α (fun i _ => derive_poisson (y i) _) Hmin (unit_of i)) as E.
    assert (PN : 0 < / INR N) by (apply Rinv_0_lt_compat, lt_0_INR; lia).
    rewrite (unit_sum_ext N unit_of (unit_of i) _ (fun l => / INR N * exp (shifted α l))) in E.
    - rewrite unit_sum_scal in E.
      assert (0 < unit_sum (unit_of i) (fun l => exp (shifted α l)))
        by (apply unit_sum_positive; [intros; apply exp_pos|exact Hi]).
      nra.
    - intros l Hl El. unfold r, poisson', Rdiv. rewrite Hy by assumption. ring.
  Qed.

  (* Squared: α̂ = the unit's mean of y - x. *)
  Definition αhat_squared (v : nat) : R := unit_sum v (fun i => y i - x i) / unit_sum v (fun _ => 1).

  (* The residuals y - η add up to 0 in every unit. *)
  Lemma squared_residuals v : unit_sum v (fun i => y i - (x i + αhat_squared (unit_of i))) = 0.
  Proof.
    destruct (rows_or_none N unit_of v) as [[i [Hi E]]|none]; [|now apply unit_sum_none].
    assert (P : 0 < unit_sum v (fun _ => 1)) by (rewrite <- E; apply unit_sum_positive; [intros; lra|exact Hi]).
    rewrite (unit_sum_ext N unit_of v _ (fun i => (y i - x i) - αhat_squared v * 1)) by (intros l _ ->; ring).
    rewrite unit_sum_minus, unit_sum_scal. unfold αhat_squared. field. lra.
  Qed.

  Lemma squared_first_order v : unit_sum v (r N squared' y (shifted αhat_squared)) = 0.
  Proof.
    rewrite (unit_sum_ext N unit_of v _ (fun i => - 2 / INR N * (y i - (x i + αhat_squared (unit_of i)))))
      by (intros; unfold r, squared', Rdiv; ring).
    rewrite unit_sum_scal, squared_residuals. ring.
  Qed.

  Theorem squared_effect_minimises : minimises squared αhat_squared.
  Proof.
    apply (first_order_condition_suffices squared squared'); [exact squared_above_tangents|].
    intros v _. apply squared_first_order.
  Qed.

  (* Any other α costs the square of what it is off by: α̂ is the only one that minimises. *)
  Theorem squared_risk_split (α : nat -> R) :
    Risk N squared y (shifted α)
    = Risk N squared y (shifted αhat_squared) + (Σ (i < N) (α (unit_of i) - αhat_squared (unit_of i)) ^ 2) / INR N.
  Proof.
    set (c := fun v => - 2 * (α v - αhat_squared v)).
    assert (Z : (Σ (i < N) (y i - (x i + αhat_squared (unit_of i))) * c (unit_of i)) = 0).
    { rewrite (sum_by_units N U unit_of units), (sum_ext U _ (fun _ => 0)), sum_zero; [reflexivity|].
      intros v _. rewrite squared_residuals. ring. }
    unfold Risk. rewrite (sum_ext N (fun i => squared (y i) (shifted α i))
      (fun i => squared (y i) (shifted αhat_squared i) + (α (unit_of i) - αhat_squared (unit_of i)) ^ 2
        + (y i - (x i + αhat_squared (unit_of i))) * c (unit_of i))) by (intros; unfold squared, c; ring).
    rewrite !sum_plus, Z. unfold Rdiv. ring.
  Qed.

  (* Logistic: α̂ solves Σ σ(x + α) = Σ y over the unit.  There is a solution where the y of the unit, from [0, 1], are
     not all 0 and not all 1; no formula has it. *)
  Lemma σ_below z : σ z <= exp z.
  Proof.
    pose proof (exp_pos z). unfold σ. rewrite exp_Ropp.
    replace (1 / (1 + / exp z)) with (exp z / (1 + exp z)) by (field; lra).
    apply (Rmult_le_reg_r (1 + exp z)); [lra|]. unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. nra.
  Qed.

  Lemma σ_mirror z : 1 - σ z = σ (- z).
  Proof. unfold σ. rewrite Ropp_involutive, exp_Ropp. pose proof (exp_pos z). field. lra. Qed.

  Lemma unit_sum_le v u w : (forall i, (i < N)%nat -> u i <= w i) -> unit_sum v u <= unit_sum v w.
  Proof.
    intros H. apply Rminus_le_0. rewrite <- unit_sum_minus. apply sum_nonneg. intros i Hi.
    pose proof (H i Hi). destruct (Nat.eqb (unit_of i) v); lra.
  Qed.

  Lemma logistic_first_order_solved v :
    0 < unit_sum v y < unit_sum v (fun _ => 1) -> { α | unit_sum v (fun i => σ (x i + α)) = unit_sum v y }.
  Proof.
    intros [H0 H1]. set (n := unit_sum v (fun _ => 1)) in *. set (Y := unit_sum v y) in *.
    set (f := fun α => unit_sum v (fun i => σ (x i + α))).
    set (up := unit_sum v (fun i => exp (x i))). set (down := unit_sum v (fun i => exp (- x i))).
    assert (Pup : 0 < up) by now apply unit_exp_positive.
    assert (Pdown : 0 < down).
    { destruct (rows_or_none N unit_of v) as [[i [Hi <-]]|none].
      - apply unit_sum_positive; [intros; apply exp_pos|exact Hi].
      - unfold Y in H0. rewrite unit_sum_none in H0 by exact none. lra. }
    (* Too far down and too far up: σ(z) ≤ e^z, and 1 - σ(z) ≤ e^(-z). *)
    assert (L : f (ln (Y / up)) <= Y).
    { apply Rle_trans with (unit_sum v (fun i => Y / up * exp (x i))).
      - apply unit_sum_le. intros i _. eapply Rle_trans; [apply σ_below|].
        rewrite exp_plus, exp_ln by now apply Rdiv_lt_0_compat. lra.
      - rewrite unit_sum_scal. fold up. right. field. lra. }
    assert (T : Y <= f (- ln ((n - Y) / down))).
    { cut (n - f (- ln ((n - Y) / down)) <= n - Y); [lra|]. unfold f, n at 1. rewrite <- unit_sum_minus.
      apply Rle_trans with (unit_sum v (fun i => (n - Y) / down * exp (- x i))).
      - apply unit_sum_le. intros i _. rewrite σ_mirror. eapply Rle_trans; [apply σ_below|].
        rewrite Ropp_plus_distr, Ropp_involutive, exp_plus, exp_ln by (apply Rdiv_lt_0_compat; lra). lra.
      - rewrite unit_sum_scal. fold down. right. field. lra. }
    destruct (IVT_gen f (ln (Y / up)) (- ln ((n - Y) / down)) Y) as [α [_ E]].
    - intros α. apply derivable_continuous_pt. eexists. apply is_derive_Reals.
      apply (derive_unit_sum N unit_of v (fun i α => σ (x i + α))
        (fun i => exp (- (x i + α)) / (1 + exp (- (x i + α))) ^ 2)).
      intros i _. pose proof (exp_pos (- (x i + α))). unfold σ. auto_derive; [lra|]. reals. field. lra.
    - split; [eapply Rle_trans; [apply Rmin_l|exact L]|eapply Rle_trans; [exact T|apply Rmax_r]].
    - now exists α.
  Qed.

  (* α̂ is that solution; 0 stands where there is none. *)
  Definition αhat_logistic (v : nat) : R :=
    match Rlt_dec 0 (unit_sum v y), Rlt_dec (unit_sum v y) (unit_sum v (fun _ => 1)) with
    | left H0, left H1 => proj1_sig (logistic_first_order_solved v (conj H0 H1))
    | _, _ => 0
    end.

  Lemma αhat_logistic_solves v : 0 < unit_sum v y < unit_sum v (fun _ => 1) ->
    unit_sum v (fun i => σ (x i + αhat_logistic v)) = unit_sum v y.
  Proof.
    intros [H0 H1]. unfold αhat_logistic. destruct (Rlt_dec 0 (unit_sum v y)) as [K0|]; [|contradiction].
    destruct (Rlt_dec (unit_sum v y) (unit_sum v (fun _ => 1))) as [K1|]; [|contradiction].
    apply (proj2_sig (logistic_first_order_solved v (conj K0 K1))).
  Qed.

  Theorem logistic_effect_minimises :
    (forall v, (v < U)%nat -> 0 < unit_sum v y < unit_sum v (fun _ => 1)) -> minimises logistic αhat_logistic.
  Proof.
    intros Hy. apply (first_order_condition_suffices logistic logistic'); [exact logistic_above_tangents|].
    intros v Hv. rewrite (unit_sum_ext N unit_of v _ (fun i => / INR N * (σ (x i + αhat_logistic v) - y i)))
      by (intros i _ E; unfold r, logistic', Rdiv; rewrite E; ring).
    rewrite unit_sum_scal, unit_sum_minus, αhat_logistic_solves by now apply Hy. ring.
  Qed.

  Corollary logistic_effect_exists :
    (forall v, (v < U)%nat -> 0 < unit_sum v y < unit_sum v (fun _ => 1)) -> exists α, minimises logistic α.
  Proof. intros Hy. exists αhat_logistic. now apply logistic_effect_minimises. Qed.

  (* Where all y of a unit are 0, or all are 1, no α minimises. *)
  Theorem logistic_effect_none i c : (i < N)%nat -> c = 0 \/ c = 1 ->
    (forall l, (l < N)%nat -> unit_of l = unit_of i -> y l = c) -> forall α, ~ minimises logistic α.
  Proof.
    intros Hi Hc Hy α Hmin.
    pose proof (first_order_condition logistic logistic' α (fun i _ => derive_logistic (y i) _) Hmin (unit_of i)) as E.
    assert (PN : 0 < / INR N) by (apply Rinv_0_lt_compat, lt_0_INR; lia).
    assert (Pσ : forall z, 0 < σ z) by (intros z; unfold σ; pose proof (exp_pos (- z)); apply Rdiv_lt_0_compat; lra).
    rewrite (unit_sum_ext N unit_of (unit_of i) _ (fun l => / INR N * (σ (shifted α l) - c))) in E
      by (intros l Hl El; unfold r, logistic', Rdiv; rewrite Hy by assumption; ring).
    rewrite unit_sum_scal in E. destruct Hc as [-> | ->].
    - assert (0 < unit_sum (unit_of i) (fun l => σ (shifted α l) - 0)); [|nra].
      apply unit_sum_positive; [|exact Hi]. intros l _. pose proof (Pσ (shifted α l)). lra.
    - assert (0 < unit_sum (unit_of i) (fun l => - 1 * (σ (shifted α l) - 1))); [|rewrite unit_sum_scal in *; nra].
      apply unit_sum_positive; [|exact Hi]. intros l _.
      pose proof (σ_mirror (shifted α l)). pose proof (Pσ (- shifted α l)). lra.
  Qed.
End BestEffect.

(* A function between two others that meet at t0 with the same derivative has that derivative. *)
Lemma derive_squeeze (f g h : R -> R) t0 d :
  (forall t, f t <= g t <= h t) -> f t0 = g t0 -> h t0 = g t0 ->
  is_derive f t0 d -> is_derive h t0 d -> is_derive g t0 d.
Proof.
  intros between Ef Eh Df Dh. apply is_derive_Reals. apply is_derive_Reals in Df, Dh.
  intros ε Hε. destruct (Df ε Hε) as [a Ha]. destruct (Dh ε Hε) as [b Hb].
  assert (P : 0 < Rmin a b) by (apply Rmin_pos; [apply a|apply b]).
  exists (mkposreal _ P). intros x Hx Hlt. simpl in Hlt.
  pose proof (Rmin_l a b). pose proof (Rmin_r a b).
  assert (A1 := Ha x Hx ltac:(lra)). assert (B1 := Hb x Hx ltac:(lra)).
  apply Rabs_def2 in A1, B1. rewrite Ef in A1. rewrite Eh in B1.
  destruct (between (t0 + x)) as [L1 L2]. apply Rabs_def1.
  - destruct (Rdichotomy _ _ Hx) as [X|X].
    + assert ((g (t0 + x) - g t0) / x <= (f (t0 + x) - g t0) / x); [|lra].
      apply Ropp_le_cancel. unfold Rdiv. rewrite !Ropp_mult_distr_r, <- Rinv_opp.
      apply Rmult_le_compat_r; [apply Rlt_le, Rinv_0_lt_compat|]; lra.
    + assert ((g (t0 + x) - g t0) / x <= (h (t0 + x) - g t0) / x); [|lra].
      apply Rmult_le_compat_r; [apply Rlt_le, Rinv_0_lt_compat|]; lra.
  - destruct (Rdichotomy _ _ Hx) as [X|X].
    + assert ((h (t0 + x) - g t0) / x <= (g (t0 + x) - g t0) / x); [|lra].
      apply Ropp_le_cancel. unfold Rdiv. rewrite !Ropp_mult_distr_r, <- Rinv_opp.
      apply Rmult_le_compat_r; [apply Rlt_le, Rinv_0_lt_compat|]; lra.
    + assert ((f (t0 + x) - g t0) / x <= (g (t0 + x) - g t0) / x); [|lra].
      apply Rmult_le_compat_r; [apply Rlt_le, Rinv_0_lt_compat|]; lra.
Qed.

(* Panel effects for the squared loss.  D are the dummies, a unit each, and M w takes each unit's mean off w. *)
Section Demeaning.
  Variables (N U : nat) (unit_of : nat -> nat).
  Notation unit_sum := (unit_sum N unit_of).

  Definition D (i v : nat) : R := if Nat.eqb (unit_of i) v then 1 else 0.
  Definition unit_mean (v : nat) (w : nat -> R) : R := unit_sum v w / unit_sum v (fun _ => 1).
  Definition M (w : nat -> R) (i : nat) : R := w i - unit_mean (unit_of i) w.

  Hypothesis units : forall i, (i < N)%nat -> (unit_of i < U)%nat.

  Lemma sum_D v w : Σ (i < N) D i v * w i = unit_sum v w.
  Proof. apply sum_ext. intros i _. unfold D. destruct (Nat.eqb (unit_of i) v); ring. Qed.

  Lemma effects_by_D (α : nat -> R) i : (i < N)%nat -> α (unit_of i) = Σ (v < U) D i v * α v.
  Proof.
    intros Hi. symmetry. rewrite <- (sum_δ U α (unit_of i)) by now apply units. apply sum_ext. intros v _.
    unfold D, δ. now rewrite Nat.eqb_sym.
  Qed.

  (* Effects are linear terms: with the dummies among W and α among δ, η is the same, and so is what is found for α. *)
  Definition beside (q : nat) (u v : nat -> R) (k : nat) : R := if Nat.ltb k q then u k else v (k - q)%nat.

  Lemma beside_l q u v k : (k < q)%nat -> beside q u v k = u k.
  Proof. intros H. unfold beside. now rewrite (proj2 (Nat.ltb_lt k q) H). Qed.

  Lemma beside_r q u v k : beside q u v (q + k) = v k.
  Proof.
    unfold beside. rewrite (proj2 (Nat.ltb_ge (q + k) q)) by lia. f_equal. lia.
  Qed.

  Lemma sum_beside q u v : sum (q + U) (beside q u v) = sum q u + sum U v.
  Proof.
    clear units. induction U as [|m IH].
    - rewrite Nat.add_0_r. simpl. rewrite Rplus_0_r. apply sum_ext. intros k Hk. now apply beside_l.
    - rewrite Nat.add_succ_r. simpl. rewrite IH, beside_r. ring.
  Qed.

  Theorem effects_are_linear_terms p q A W Γout (δ α : nat -> R) (r : nat -> R) :
    let WD := fun i => beside q (W i) (D i) in
    (forall i, (i < N)%nat ->
      η p (q + U) A WD Γout (beside q δ α) unit_of (fun _ => 0) i = η p q A W Γout δ unit_of α i) /\
    (forall k, (k < q)%nat -> dδ N WD r k = dδ N W r k) /\
    (forall v, dδ N WD r (q + v) = dα N unit_of r v).
  Proof.
    intros WD. unfold WD, dδ. repeat split.
    - intros i Hi. unfold η. rewrite (effects_by_D α i Hi).
      rewrite (sum_ext (q + U) _ (beside q (fun k => W i k * δ k) (fun v => D i v * α v))).
      + rewrite sum_beside. ring.
      + intros k _. unfold beside. destruct (Nat.ltb k q); reflexivity.
    - intros k Hk. apply sum_ext. intros i _. now rewrite beside_l.
    - intros v. unfold dα. rewrite <- sum_D. apply sum_ext. intros i _. now rewrite beside_r.
  Qed.

  (* DᵀD is diagonal, with the units' numbers of rows. *)
  Lemma gram_of_D v v' : Σ (i < N) D i v * D i v' = unit_sum v (fun _ => 1) * δ v v'.
  Proof.
    rewrite sum_D. destruct (Nat.eq_dec v v') as [<-|E].
    - rewrite δ_same, Rmult_1_r. apply unit_sum_ext. intros i _ <-. unfold D. now rewrite Nat.eqb_refl.
    - rewrite δ_other, Rmult_0_r by exact E.
      rewrite (unit_sum_ext N unit_of v _ (fun _ => 0 * 1)); [rewrite unit_sum_scal; ring|].
      intros i _ <-. unfold D. apply Nat.eqb_neq in E as ->. ring.
  Qed.

  (* M = I - D (DᵀD)⁻¹ Dᵀ, with G = (DᵀD)⁻¹: what G is, DᵀD G = I says. *)
  Theorem demeaning_is_projection (G : nat -> nat -> R) (w : nat -> R) :
    (forall v v', (v < U)%nat -> (v' < U)%nat ->
      Σ (u < U) (Σ (i < N) D i v * D i u) * G u v' = δ v v') ->
    forall i, (i < N)%nat ->
      M w i = w i - Σ (v < U) Σ (v' < U) D i v * G v v' * (Σ (l < N) D l v' * w l).
  Proof.
    intros inverse i Hi. set (n := fun v => unit_sum v (fun _ => 1)).
    assert (E : forall v v', (v < U)%nat -> (v' < U)%nat -> n v * G v v' = δ v v').
    { intros v v' Hv Hv'. rewrite <- (inverse v v' Hv Hv').
      rewrite (sum_ext U _ (fun u => δ u v * (n v * G u v'))).
      - now rewrite (sum_δ U (fun u => n v * G u v')).
      - intros u _. rewrite gram_of_D. unfold n, δ. rewrite (Nat.eqb_sym u v). ring. }
    assert (Pn : 0 < n (unit_of i)) by (apply unit_sum_positive; [intros; lra|exact Hi]).
    unfold M, unit_mean. f_equal.
    rewrite (sum_ext U _ (fun v => δ v (unit_of i) * (unit_sum v w / n v))).
    - rewrite (sum_δ U (fun v => unit_sum v w / n v)); [reflexivity|now apply units].
    - intros v Hv. unfold D at 1. unfold δ at 1. rewrite Nat.eqb_sym.
      destruct (Nat.eqb v (unit_of i)) eqn:Ev.
      + apply Nat.eqb_eq in Ev. assert (n v <> 0) by (rewrite Ev; lra).
        rewrite (sum_ext U _ (fun v' => δ v' v * (unit_sum v' w / n v))).
        * rewrite (sum_δ U (fun v' => unit_sum v' w / n v)) by exact Hv. ring.
        * intros v' Hv'. rewrite sum_D. replace (G v v') with (δ v v' / n v).
          -- unfold δ. rewrite (Nat.eqb_sym v' v). unfold Rdiv. ring.
          -- rewrite <- (E v v' Hv Hv'). field. assumption.
      + rewrite (sum_ext U _ (fun _ => 0)), sum_zero by (intros; ring). ring.
  Qed.

  (* There is such a G where every unit has rows. *)
  Lemma gram_has_inverse : (forall v, (v < U)%nat -> exists i, (i < N)%nat /\ unit_of i = v) ->
    forall v v', (v < U)%nat -> (v' < U)%nat ->
      Σ (u < U) (Σ (i < N) D i v * D i u) * (δ u v' / unit_sum u (fun _ => 1)) = δ v v'.
  Proof.
    intros rows v v' Hv Hv'. destruct (rows v Hv) as [i [Hi Ei]].
    assert (P : 0 < unit_sum v (fun _ => 1)) by (rewrite <- Ei; apply unit_sum_positive; [intros; lra|exact Hi]).
    rewrite (sum_ext U _ (fun u => δ u v * (unit_sum v (fun _ => 1) * (δ u v' / unit_sum u (fun _ => 1))))).
    - rewrite (sum_δ U (fun u => unit_sum v (fun _ => 1) * (δ u v' / unit_sum u (fun _ => 1)))) by exact Hv.
      field. lra.
    - intros u _. rewrite gram_of_D. unfold δ at 1 3. rewrite (Nat.eqb_sym v u). ring.
  Qed.

  (* M w adds up to 0 in every unit, *)
  Theorem demeaned_sums_to_zero v w : unit_sum v (M w) = 0.
  Proof.
    pose proof (squared_residuals N unit_of w (fun _ => 0) v) as E. rewrite <- E.
    apply unit_sum_ext. intros i _ _. unfold M, unit_mean, αhat_squared.
    rewrite (unit_sum_ext N unit_of _ w (fun i => w i - 0)) by (intros; ring). ring.
  Qed.

  (* so that to demean again changes nothing: M M = M; *)
  Corollary demeaning_twice w i : M (M w) i = M w i.
  Proof. unfold M at 1. unfold unit_mean. rewrite demeaned_sums_to_zero. unfold Rdiv. ring. Qed.

  (* and M is symmetric. *)
  Theorem demeaning_symmetric u w : Σ (i < N) M u i * w i = Σ (i < N) u i * M w i.
  Proof.
    assert (H : forall u w, Σ (i < N) M u i * w i = Σ (i < N) M u i * M w i).
    { intros a b. rewrite (sum_ext N (fun i => M a i * b i)
        (fun i => M a i * M b i + M a i * unit_mean (unit_of i) b)) by (intros; unfold M; ring).
      rewrite sum_plus, (sum_by_units N U unit_of units (fun v => unit_mean v b)).
      rewrite (sum_ext U _ (fun _ => 0)), sum_zero; [ring|].
      intros v _. rewrite demeaned_sums_to_zero. ring. }
    rewrite (sum_ext N (fun i => u i * M w i) (fun i => M w i * u i)) by (intros; ring).
    rewrite (H u w), (H w u). apply sum_ext. intros; ring.
  Qed.

  (* A unit of one row has nothing left. *)
  Corollary demeaned_single_row w i :
    (i < N)%nat -> (forall l, (l < N)%nat -> unit_of l = unit_of i -> l = i) -> M w i = 0.
  Proof.
    intros Hi single. rewrite <- (demeaned_sums_to_zero (unit_of i) w).
    rewrite (unit_sum_ext N unit_of (unit_of i) (M w) (fun l => δ l i * M w l)).
    - unfold Head.unit_sum. rewrite (sum_ext N _ (fun l => δ l i * M w l)).
      + now rewrite (sum_δ N (M w)).
      + intros l _. destruct (Nat.eq_dec l i) as [->|E]; [rewrite Nat.eqb_refl; ring|].
        rewrite δ_other by exact E. destruct (Nat.eqb (unit_of l) (unit_of i)); ring.
    - intros l Hl El. rewrite (single l Hl El), δ_same. ring.
  Qed.
End Demeaning.

(* The envelope theorem for the losses above their tangents.  α̂ minimises R at every t; how it moves with t is not
   assumed to be known, nor that it has a derivative. *)
Section Envelope.
  Variables (N p q U : nat) (W : nat -> nat -> R) (y : nat -> R) (unit_of : nat -> nat) (t0 : R).
  Variables (A : nat -> nat -> R -> R) (Γout δ : nat -> R -> R).
  Variables (A' : nat -> nat -> R) (Γout' δ' : nat -> R).
  Hypothesis units : forall i, (i < N)%nat -> (unit_of i < U)%nat.
  Hypothesis HA : forall i j, (i < N)%nat -> (j < p)%nat -> is_derive (A i j) t0 (A' i j).
  Hypothesis HΓout : forall j, (j < p)%nat -> is_derive (Γout j) t0 (Γout' j).
  Hypothesis Hδ : forall k, (k < q)%nat -> is_derive (δ k) t0 (δ' k).

  Notation A_ t := (fun i j => A i j t).
  Notation Γout_ t := (fun j => Γout j t).
  Notation δ_ t := (fun k => δ k t).

  (* A Γ_out + W δ, what α is added to *)
  Definition x (t : R) (i : nat) : R := (Σ (j < p) A i j t * Γout j t) + Σ (k < q) W i k * δ k t.

  (* Of a slope r: its gradients times the directions, without α. *)
  Notation gradient_times_direction r :=
    ((Σ (i < N) Σ (j < p) dA (Γout_ t0) r i j * A' i j)
     + (Σ (j < p) dΓout N (A_ t0) r j * Γout' j)
     + (Σ (k < q) dδ N W r k * δ' k)).

  Theorem envelope_theorem (ℓ ℓ' : R -> R -> R) (αhat : R -> nat -> R) :
    above_tangents ℓ ℓ' ->
    (forall i, (i < N)%nat ->
      let η0 := η p q (A_ t0) W (Γout_ t0) (δ_ t0) unit_of (αhat t0) i in is_derive (ℓ (y i)) η0 (ℓ' (y i) η0)) ->
    (forall t, minimises N unit_of y (x t) ℓ (αhat t)) ->
    is_derive (fun t => Risk N ℓ y (η p q (A_ t) W (Γout_ t) (δ_ t) unit_of (αhat t))) t0
      (gradient_times_direction (r N ℓ' y (η p q (A_ t0) W (Γout_ t0) (δ_ t0) unit_of (αhat t0)))).
  Proof.
    intros Htangents Hℓ Hmin. cbv zeta in Hℓ.
    set (η0 := η p q (A_ t0) W (Γout_ t0) (δ_ t0) unit_of (αhat t0)) in *. set (r0 := r N ℓ' y η0).
    (* Above R lies the risk with α̂ held at its value at t0, *)
    set (h := fun t => Risk N ℓ y (η p q (A_ t) W (Γout_ t) (δ_ t) unit_of (αhat t0))).
    (* and below it what the tangents at t0 add up to. *)
    set (f := fun t => Risk N ℓ y η0 + Σ (i < N) r0 i * (x t i - x t0 i)).
    assert (first_order : forall v, unit_sum N unit_of v r0 = 0)
      by exact (first_order_condition N unit_of y (x t0) ℓ ℓ' (αhat t0) Hℓ (Hmin t0)).
    assert (no_move : forall c, (Σ (i < N) r0 i * c (unit_of i)) = 0).
    { intros c. rewrite (sum_by_units N U unit_of units), (sum_ext U _ (fun _ => 0)), sum_zero; [reflexivity|].
      intros v _. rewrite first_order. ring. }
    assert (held : forall v, (v < U)%nat -> is_derive (fun _ : R => αhat t0 v) t0 0)
      by (intros; apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule))).
    apply (derive_squeeze f _ h).
    - intros t. split; [|apply (Hmin t)].
      destruct (Nat.eq_dec N 0) as [E|HN]; [unfold f, Risk; rewrite E; simpl; lra|].
      assert (PN : 0 < / INR N) by (apply Rinv_0_lt_compat, lt_0_INR; lia).
      set (ηt := η p q (A_ t) W (Γout_ t) (δ_ t) unit_of (αhat t)).
      assert (E : f t = Risk N ℓ y η0 + Σ (i < N) r0 i * (ηt i - η0 i)).
      { unfold f. f_equal.
        rewrite <- (Rplus_0_r (sum N _)), <- (no_move (fun v => αhat t v - αhat t0 v)), <- sum_plus.
        apply sum_ext. intros i _. unfold ηt, η0, η, x. ring. }
      rewrite E. unfold Risk, Rdiv. rewrite <- !sum_scal_r, <- sum_plus.
      apply Rminus_le_0. rewrite <- sum_minus. apply sum_nonneg. intros i _. unfold r0, r, Rdiv.
      pose proof (Htangents (y i) (η0 i) (ηt i - η0 i)) as T.
      replace (η0 i + (ηt i - η0 i)) with (ηt i) in T by ring.
      replace (ℓ (y i) (ηt i) * / INR N - _)
        with ((ℓ (y i) (ηt i) - (ℓ (y i) (η0 i) + ℓ' (y i) (η0 i) * (ηt i - η0 i))) * / INR N) by ring.
      apply Rmult_le_pos; lra.
    - unfold f. rewrite (sum_ext N _ (fun _ => 0)), sum_zero by (intros; ring). fold η0. ring.
    - reflexivity.
    - replace (gradient_times_direction r0)
        with (0 + Σ (i < N) r0 i * η' p q W unit_of t0 A Γout A' Γout' δ' (fun _ => 0) i).
      + apply (derive_plus (fun _ => Risk N ℓ y η0) (fun t => Σ (i < N) r0 i * (x t i - x t0 i)));
          [apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule))|].
        apply (derive_sum N (fun i t => r0 i * (x t i - x t0 i))). intros i Hi.
        apply (derive_scal (fun t => x t i - x t0 i)).
        apply (is_derive_ext (fun t => η p q (A_ t) W (Γout_ t) (δ_ t) unit_of (fun _ => - x t0 i) i));
          [intros t; unfold η, x; reals; ring|].
        apply (derive_η N p q U W unit_of t0 A Γout δ (fun _ _ => - x t0 i) A' Γout' δ' (fun _ => 0)); auto.
        intros; apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule)).
      + rewrite (slope_through_head N p q U W unit_of t0 A Γout A' Γout' δ' (fun _ => 0) units r0).
        rewrite (sum_ext U (fun v => dα N unit_of r0 v * 0) (fun _ => 0)), sum_zero by (intros; ring). ring.
    - exact (head_gradient_profiled N p q U W y unit_of t0 A Γout δ (fun v _ => αhat t0 v) A' Γout' δ' (fun _ => 0)
        units HA HΓout Hδ held ℓ ℓ' Hℓ (fun v _ => first_order v)).
  Qed.

  (* Squared: R = ‖M (y - W δ - A Γ_out)‖² / N is the least there is over α, at α̂ = the unit's mean of
     y - W δ - A Γ_out, and every formula stands with ε̃ = M ε̂ for ε̂: r = -(2/N) ε̃. *)
  Definition εtilde (t : R) : nat -> R :=
    M N unit_of (fun i => y i - (Σ (k < q) W i k * δ k t) - Σ (j < p) A i j t * Γout j t).

  Lemma εtilde_is_residual t i :
    εtilde t i = y i - η p q (A_ t) W (Γout_ t) (δ_ t) unit_of (αhat_squared N unit_of y (x t)) i.
  Proof.
    unfold εtilde, M, unit_mean, αhat_squared, η.
    rewrite (unit_sum_ext N unit_of (unit_of i) (fun i => y i - x t i)
      (fun i => y i - (Σ (k < q) W i k * δ k t) - Σ (j < p) A i j t * Γout j t)) by (intros; unfold x; ring).
    ring.
  Qed.

  Theorem squared_profiled_gradient :
    is_derive (fun t => (Σ (i < N) εtilde t i ^ 2) / INR N) t0
      (gradient_times_direction (fun i => - (2 / INR N) * εtilde t0 i)).
  Proof.
    apply (is_derive_ext (fun t => Risk N squared y (η p q (A_ t) W (Γout_ t) (δ_ t) unit_of
      (αhat_squared N unit_of y (x t))))).
    - intros t. unfold Risk, squared. apply f_equal2; [|reflexivity].
      apply sum_ext. intros i _. now rewrite εtilde_is_residual.
    - replace (fun i => - (2 / INR N) * εtilde t0 i)
        with (r N squared' y (η p q (A_ t0) W (Γout_ t0) (δ_ t0) unit_of (αhat_squared N unit_of y (x t0)))).
      + apply envelope_theorem; [exact squared_above_tangents|intros; apply derive_squared|].
        intros t. now apply (squared_effect_minimises N U).
      + apply functional_extensionality. intros i. rewrite εtilde_is_residual. unfold r, squared', Rdiv. ring.
  Qed.

  (* Poisson: α̂ = log(Σ y / Σ e^(A Γ_out + W δ)) over the unit. *)
  Theorem poisson_profiled_gradient :
    (forall v, (v < U)%nat -> 0 < unit_sum N unit_of v y) ->
    let η_ t := η p q (A_ t) W (Γout_ t) (δ_ t) unit_of (αhat_poisson N unit_of y (x t)) in
    is_derive (fun t => (Σ (i < N) (exp (η_ t i) - y i * η_ t i)) / INR N) t0
      (gradient_times_direction (fun i => (exp (η_ t0 i) - y i) / INR N)).
  Proof.
    intros Hy. apply (envelope_theorem poisson poisson'); [exact poisson_above_tangents|intros; apply derive_poisson|].
    intros t. now apply (poisson_effect_minimises N U).
  Qed.

  (* Logistic: for any α̂ that minimises (by logistic_effect_minimises αhat_logistic does). *)
  Theorem logistic_profiled_gradient (αhat : R -> nat -> R) :
    (forall t, minimises N unit_of y (x t) logistic (αhat t)) ->
    let η_ t := η p q (A_ t) W (Γout_ t) (δ_ t) unit_of (αhat t) in
    is_derive (fun t => (Σ (i < N) (ln (1 + exp (η_ t i)) - y i * η_ t i)) / INR N) t0
      (gradient_times_direction (fun i => (σ (η_ t0 i) - y i) / INR N)).
  Proof.
    intros Hmin.
    apply (envelope_theorem logistic logistic'); [exact logistic_above_tangents|intros; apply derive_logistic|].
    exact Hmin.
  Qed.
End Envelope.

(* With panel effects profiled out, 1ᵀ ∂A = 0: with the identity activation, where S = ∂A, that is ∂β = 0. *)
Corollary head_slope_sums_to_zero N U unit_of Γout r :
  (forall i, (i < N)%nat -> (unit_of i < U)%nat) -> (forall v, (v < U)%nat -> unit_sum N unit_of v r = 0) ->
  forall j, Σ (i < N) dA Γout r i j = 0.
Proof.
  intros units zero j. unfold dA. rewrite sum_scal_r, (sum_of_units N U unit_of units).
  rewrite (sum_ext U _ (fun _ => 0)), sum_zero by exact zero. ring.
Qed.

(* Data that fulfil all that is assumed of y and the units exist: two rows of one unit, y = (0, 1). *)
Example panel_data_exist :
  let unit_of := fun i : nat => 0%nat in
  (forall i, (i < 2)%nat -> (unit_of i < 1)%nat) /\
  (forall v, (v < 1)%nat -> 0 < unit_sum 2 unit_of v INR < unit_sum 2 unit_of v (fun _ => 1)).
Proof.
  cbv zeta. split; [intros; lia|]. intros v Hv. replace v with 0%nat by lia. unfold unit_sum. simpl. lra.
Qed.
