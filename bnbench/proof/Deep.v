(* The network with any number of hidden layers: the gradient of its risk, by induction over the layers.

   Layer l = 1, …, L makes A_l of A_{l-1}, where A_0 = X: Z_l = A_{l-1} Γ_l, then its own μ, s, X̂ and B, and
   A_l = a(B_l).  N rows i; layer l has p l nodes, and p 0 is the number of inputs; pred l is l - 1.  a' is a's
   derivative, asked for at the B_ij alone.  The head and the loss are those of Head.

   layers_backward    a loss whose slope in A_L is given moves by Σ over the layers of gradient times direction, and
                      by Σ ∂X X', with the gradients found backward, layer after layer
   deep_gradient      so the risk's derivative along any curve of all layers' parameters, the inputs and the head's
                      parameters is Σ gradient · direction, for any loss: that holds all partial derivatives at once
   deep_squared, deep_logistic, deep_poisson   the three losses, nothing assumed of them
   deep_envelope      the same with panel effects profiled out, for a loss above its tangents
   deep_squared_profiled, deep_poisson_profiled, deep_logistic_profiled   and for the three losses
   partial_Γ_l, partial_γ_l, partial_β_l, partial_A_0   the partial derivatives: one entry moves, all others stay
   one_layer          one layer, the squared loss and A Γ_out alone in the head: that is the network of OneLayer *)
From Coq Require Import Reals Lra Lia FunctionalExtensionality.
From Coquelicot Require Import Coquelicot.
From bnbench Require Import Sums.
From bnbench Require Layer Dense OneLayer Head.
Open Scope R_scope.

Section Definitions.
  Variables (N : nat) (ddof eps : R) (a a' : R -> R) (p : nat -> nat).
  Variables (X : nat -> nat -> R) (Γ : nat -> nat -> nat -> R) (γ β : nat -> nat -> R).

  (* A_0 = X, and A_l is layer l's (Dense.A) of A_{l-1}; *)
  Fixpoint A (l : nat) : nat -> nat -> R :=
    match l with
    | O => X
    | S m => Dense.A N (p m) ddof eps a (A m) (Γ l) (γ l) (β l)
    end.

  (* in full: Z_l = A_{l-1} Γ_l,  μ = mean Z,  s = sqrt(Σ (Z - μ)² / (N - ddof) + eps),  X̂ = (Z - 1μᵀ) / s, *)
  Definition Z (l i j : nat) : R := Σ (k < p (pred l)) A (pred l) i k * Γ l k j.
  Definition μ (l j : nat) : R := (Σ (i < N) Z l i j) / INR N.
  Definition variance (l j : nat) : R := (Σ (i < N) (Z l i j - μ l j) ^ 2) / (INR N - ddof) + eps.
  Definition s (l j : nat) : R := sqrt (variance l j).
  Definition Xhat (l i j : nat) : R := (Z l i j - μ l j) / s l j.

  (* B = γ ⊙ X̂ + β,  A_l = a(B_l) *)
  Definition B (l i j : nat) : R := γ l j * Xhat l i j + β l j.

  Lemma forward_equation l i j : (1 <= l)%nat -> A l i j = a (B l i j).
  Proof. destruct l as [|m]; [lia|reflexivity]. Qed.

  (* Backward.  L layers; top is ∂R/∂A_L, which comes from the head.  Where no layer is above A_l, ∂A_l is top; else it
     is dZ_{l+1} Γ_{l+1}ᵀ (Dense.dM), with dZ_{l+1} (Dense.dZ) of ∂A_{l+1}, which has one layer less above it. *)
  Variables (L : nat) (top : nat -> nat -> R).

  Fixpoint slope (above l : nat) : nat -> nat -> R :=
    match above with
    | O => top
    | S m => Dense.dM (p (S l)) (Γ (S l))
        (Dense.dZ N (p l) ddof eps a' (A l) (Γ (S l)) (γ (S l)) (β (S l)) (slope m (S l)))
    end.
  Definition dA (l : nat) : nat -> nat -> R := slope (L - l) l.

  (* In full: S = ∂A ⊙ a'(B),  ∂β = 1ᵀ S,  ∂γ = 1ᵀ (S ⊙ X̂), *)
  Definition stub (l i j : nat) : R := dA l i j * a' (B l i j).
  Definition dβ (l j : nat) : R := Σ (i < N) stub l i j.
  Definition dγ (l j : nat) : R := Σ (i < N) stub l i j * Xhat l i j.

  (* dZ = (γ/s) ⊙ (S - 1 ∂βᵀ/N - X̂ ⊙ ∂γᵀ/(N - ddof)),  ∂Γ = A_{l-1}ᵀ dZ, *)
  Definition dZ (l i j : nat) : R :=
    γ l j / s l j * (stub l i j - dβ l j / INR N - Xhat l i j * dγ l j / (INR N - ddof)).
  Definition dΓ (l k j : nat) : R := Σ (i < N) A (pred l) i k * dZ l i j.

  (* ∂A_L = top,  ∂A_{l-1} = dZ_l Γ_lᵀ *)
  Lemma backward_top i j : dA L i j = top i j.
  Proof. unfold dA. now rewrite Nat.sub_diag. Qed.

  Theorem backward_equation l i k : (1 <= l <= L)%nat -> dA (pred l) i k = Σ (j < p l) dZ l i j * Γ l k j.
  Proof.
    intros Hl. destruct l as [|m]; [lia|]. unfold dA at 1. simpl pred.
    replace (L - m)%nat with (S (L - S m)) by lia. reflexivity.
  Qed.
End Definitions.

Section Gradient.
  Variables (N L : nat) (ddof eps : R) (a a' : R -> R) (p : nat -> nat) (t0 : R).
  Variables (X : nat -> nat -> R -> R) (Γ : nat -> nat -> nat -> R -> R) (γ β : nat -> nat -> R -> R).
  Variables (X' : nat -> nat -> R) (Γ' : nat -> nat -> nat -> R) (γ' β' : nat -> nat -> R).

  (* The network with its parameters at t; and its gradients, at t0. *)
  Notation X_ t := (fun i k => X i k t).
  Notation Γ_ t := (fun l k j => Γ l k j t).
  Notation γ_ t := (fun l j => γ l j t).
  Notation β_ t := (fun l j => β l j t).
  Notation A t := (A N ddof eps a p (X_ t) (Γ_ t) (γ_ t) (β_ t)).
  Notation B t := (B N ddof eps a p (X_ t) (Γ_ t) (γ_ t) (β_ t)).
  Notation variance t := (variance N ddof eps a p (X_ t) (Γ_ t) (γ_ t) (β_ t)).
  Notation dΓ top := (dΓ N ddof eps a a' p (X_ t0) (Γ_ t0) (γ_ t0) (β_ t0) L top).
  Notation dγ top := (dγ N ddof eps a a' p (X_ t0) (Γ_ t0) (γ_ t0) (β_ t0) L top).
  Notation dβ top := (dβ N ddof eps a a' p (X_ t0) (Γ_ t0) (γ_ t0) (β_ t0) L top).
  Notation dA top := (dA N ddof eps a a' p (X_ t0) (Γ_ t0) (γ_ t0) (β_ t0) L top).

  Hypothesis rows : INR N <> 0.
  Hypothesis divisor : INR N - ddof <> 0.
  Hypothesis positive : forall l j, (1 <= l <= L)%nat -> (j < p l)%nat -> 0 < variance t0 l j.
  Hypothesis differentiable : forall l i j, (1 <= l <= L)%nat -> (i < N)%nat -> (j < p l)%nat ->
    is_derive a (B t0 l i j) (a' (B t0 l i j)).
  Hypothesis HX : forall i k, (i < N)%nat -> (k < p 0)%nat -> is_derive (X i k) t0 (X' i k).
  Hypothesis HΓ : forall l k j, (1 <= l <= L)%nat -> (k < p (pred l))%nat -> (j < p l)%nat ->
    is_derive (Γ l k j) t0 (Γ' l k j).
  Hypothesis Hγ : forall l j, (1 <= l <= L)%nat -> (j < p l)%nat -> is_derive (γ l j) t0 (γ' l j).
  Hypothesis Hβ : forall l j, (1 <= l <= L)%nat -> (j < p l)%nat -> is_derive (β l j) t0 (β' l j).

  (* A_0' = X', and A_l' is what layer l makes of A_{l-1}' and its own parameters' derivatives. *)
  Fixpoint A' (l : nat) : nat -> nat -> R :=
    match l with
    | O => X'
    | S m => Dense.A' N (p m) ddof eps t0 a' (fun i k t => A t m i k) (Γ l) (γ l) (β l) (A' m) (Γ' l) (γ' l) (β' l)
    end.

  Lemma derive_A_l l : (l <= L)%nat -> forall i j, (i < N)%nat -> (j < p l)%nat ->
    is_derive (fun t => A t l i j) t0 (A' l i j).
  Proof.
    induction l as [|m IH]; intros Hl i j Hi Hj; [now apply HX|].
    assert (Hm : (1 <= S m <= L)%nat) by lia.
    apply (Dense.derive_A N (p m) (p (S m)) ddof eps t0 a a' (fun i k t => A t m i k) (Γ (S m)) (γ (S m)) (β (S m))
      (A' m) (Γ' (S m)) (γ' (S m)) (β' (S m)) rows divisor).
    - exact (fun l => positive (S m) l Hm).
    - intros l k. apply IH. lia.
    - exact (fun k l => HΓ (S m) k l Hm).
    - exact (fun l => Hγ (S m) l Hm).
    - exact (fun l => Hβ (S m) l Hm).
    - exact (fun l k => differentiable (S m) l k Hm).
    - exact Hi.
    - exact Hj.
  Qed.

  (* What layer l adds: Σ ∂Γ_l Γ_l' + Σ ∂γ_l γ_l' + Σ ∂β_l β_l' *)
  Notation layer_times_direction top l :=
    ((Σ (k < p (pred l)) Σ (j < p l) dΓ top l k j * Γ' l k j)
     + (Σ (j < p l) dγ top l j * γ' l j) + (Σ (j < p l) dβ top l j * β' l j)).

  (* One layer back. *)
  Lemma one_layer_backward top l : (l < L)%nat ->
    Σ (i < N) Σ (j < p (S l)) dA top (S l) i j * A' (S l) i j
    = layer_times_direction top (S l) + Σ (i < N) Σ (k < p l) dA top l i k * A' l i k.
  Proof.
    intros Hl.
    pose proof (Dense.layer_backward N (p l) (p (S l)) ddof eps t0 a' (fun i k t => A t l i k) (Γ (S l)) (γ (S l))
      (β (S l)) (A' l) (Γ' (S l)) (γ' (S l)) (β' (S l)) rows divisor) as H.
    assert (Hm : (1 <= S l <= L)%nat) by lia.
    etransitivity; [exact (H (fun j => positive (S l) j Hm) (dA top (S l)))|]. f_equal.
    apply sum_ext. intros i _. apply sum_ext. intros k _. f_equal.
    symmetry. apply (backward_equation N ddof eps a a' p (X_ t0) (Γ_ t0) (γ_ t0) (β_ t0) L top (S l) i k Hm).
  Qed.

  (* All layers back, from any slope in A_L. *)
  Theorem layers_backward (top : nat -> nat -> R) :
    Σ (i < N) Σ (j < p L) top i j * A' L i j
    = (Σ (l < L) layer_times_direction top (S l)) + Σ (i < N) Σ (k < p 0) dA top 0 i k * X' i k.
  Proof.
    assert (H : forall n, (n <= L)%nat ->
      Σ (i < N) Σ (j < p n) dA top n i j * A' n i j
      = (Σ (l < n) layer_times_direction top (S l)) + Σ (i < N) Σ (k < p 0) dA top 0 i k * X' i k).
    { induction n as [|n IH]; intros Hn; [symmetry; apply Rplus_0_l|].
      rewrite one_layer_backward, IH by lia. cbn [sum]. ring. }
    rewrite <- (H L (Nat.le_refl L)). apply sum_ext. intros i _. apply sum_ext. intros j _.
    now rewrite backward_top.
  Qed.

  (* With the head: η = A_L Γ_out + W δ + α_unit. *)
  Section WithHead.
    Variables (q U : nat) (W : nat -> nat -> R) (y : nat -> R) (unit_of : nat -> nat).
    Variables (Γout δ : nat -> R -> R) (Γout' δ' : nat -> R).
    Hypothesis units : forall i, (i < N)%nat -> (unit_of i < U)%nat.
    Hypothesis HΓout : forall j, (j < p L)%nat -> is_derive (Γout j) t0 (Γout' j).
    Hypothesis Hδ : forall k, (k < q)%nat -> is_derive (δ k) t0 (δ' k).

    Notation Γout_ t := (fun j => Γout j t).
    Notation δ_ t := (fun k => δ k t).
    Notation η α t := (Head.η (p L) q (A t L) W (Γout_ t) (δ_ t) unit_of α).

    (* Of r = ∂R/∂η, top is ∂A_L = r Γ_outᵀ; then the layers backward, the inputs, and the head: ∂Γ_out = A_Lᵀ r,
       ∂δ = Wᵀ r. *)
    Notation top r := (Head.dA (Γout_ t0) r).
    Notation gradient_times_direction r :=
      ((Σ (l < L) layer_times_direction (top r) (S l)) + (Σ (i < N) Σ (k < p 0) dA (top r) 0 i k * X' i k)
       + (Σ (j < p L) Head.dΓout N (A t0 L) r j * Γout' j) + (Σ (k < q) Head.dδ N W r k * δ' k)).

    Section MovingEffects.
      Variables (α : nat -> R -> R) (α' : nat -> R).
      Hypothesis Hα : forall v, (v < U)%nat -> is_derive (α v) t0 (α' v).
      Notation α_ := (fun t v => α v t).

      (* The gradient, for any loss; the effects α move as parameters do. *)
      Theorem deep_gradient (ℓ ℓ' : R -> R -> R) :
        (forall i, (i < N)%nat -> is_derive (ℓ (y i)) (η (α_ t0) t0 i) (ℓ' (y i) (η (α_ t0) t0 i))) ->
        let r := Head.r N ℓ' y (η (α_ t0) t0) in
        is_derive (fun t => Head.Risk N ℓ y (η (α_ t) t)) t0
          (gradient_times_direction r + Σ (v < U) Head.dα N unit_of r v * α' v).
      Proof.
        intros Hℓ r. rewrite <- layers_backward.
        exact (Head.head_gradient N (p L) q U W y unit_of t0 (fun i j t => A t L i j) Γout δ α (A' L) Γout' δ' α'
          units (derive_A_l L (Nat.le_refl L)) HΓout Hδ Hα ℓ ℓ' Hℓ).
      Qed.

      Corollary deep_squared :
        let r := fun i => - (2 / INR N) * (y i - η (α_ t0) t0 i) in
        is_derive (fun t => (Σ (i < N) (y i - η (α_ t) t i) ^ 2) / INR N) t0
          (gradient_times_direction r + Σ (v < U) Head.dα N unit_of r v * α' v).
      Proof.
        intros r. replace r with (Head.r N Head.squared' y (η (α_ t0) t0)).
        - exact (deep_gradient Head.squared Head.squared' (fun i _ => Head.derive_squared (y i) _)).
        - apply functional_extensionality. intros i. unfold r, Head.r, Head.squared', Rdiv. ring.
      Qed.

      Corollary deep_logistic :
        let r := fun i => (Head.σ (η (α_ t0) t0 i) - y i) / INR N in
        is_derive (fun t => (Σ (i < N) (ln (1 + exp (η (α_ t) t i)) - y i * η (α_ t) t i)) / INR N) t0
          (gradient_times_direction r + Σ (v < U) Head.dα N unit_of r v * α' v).
      Proof. exact (deep_gradient Head.logistic Head.logistic' (fun i _ => Head.derive_logistic (y i) _)). Qed.

      Corollary deep_poisson :
        let r := fun i => (exp (η (α_ t0) t0 i) - y i) / INR N in
        is_derive (fun t => (Σ (i < N) (exp (η (α_ t) t i) - y i * η (α_ t) t i)) / INR N) t0
          (gradient_times_direction r + Σ (v < U) Head.dα N unit_of r v * α' v).
      Proof. exact (deep_gradient Head.poisson Head.poisson' (fun i _ => Head.derive_poisson (y i) _)). Qed.
    End MovingEffects.

    (* Panel effects profiled out: α̂ minimises R at every t. *)
    Notation x := (Head.x (p L) q W (fun i j t => A t L i j) Γout δ).
    Notation minimises ℓ αhat := (forall t, Head.minimises N unit_of y (x t) ℓ (αhat t)).

    Theorem deep_envelope (ℓ ℓ' : R -> R -> R) (αhat : R -> nat -> R) :
      Head.above_tangents ℓ ℓ' ->
      (forall i, (i < N)%nat -> is_derive (ℓ (y i)) (η (αhat t0) t0 i) (ℓ' (y i) (η (αhat t0) t0 i))) ->
      minimises ℓ αhat ->
      is_derive (fun t => Head.Risk N ℓ y (η (αhat t) t)) t0
        (gradient_times_direction (Head.r N ℓ' y (η (αhat t0) t0))).
    Proof.
      intros Htangents Hℓ Hmin. rewrite <- layers_backward.
      exact (Head.envelope_theorem N (p L) q U W y unit_of t0 (fun i j t => A t L i j) Γout δ (A' L) Γout' δ'
        units (derive_A_l L (Nat.le_refl L)) HΓout Hδ ℓ ℓ' αhat Htangents Hℓ Hmin).
    Qed.

    (* R = ‖ε̃‖² / N with ε̃ = M (y - W δ - A_L Γ_out), M as in Head:  r = -(2/N) ε̃ *)
    Theorem deep_squared_profiled :
      let εtilde := fun t => Head.M N unit_of
        (fun i => y i - (Σ (k < q) W i k * δ k t) - Σ (j < p L) A t L i j * Γout j t) in
      is_derive (fun t => (Σ (i < N) εtilde t i ^ 2) / INR N) t0
        (gradient_times_direction (fun i => - (2 / INR N) * εtilde t0 i)).
    Proof.
      intros εtilde. rewrite <- layers_backward.
      exact (Head.squared_profiled_gradient N (p L) q U W y unit_of t0 (fun i j t => A t L i j) Γout δ (A' L) Γout' δ'
        units (derive_A_l L (Nat.le_refl L)) HΓout Hδ).
    Qed.

    Theorem deep_poisson_profiled :
      (forall v, (v < U)%nat -> 0 < Head.unit_sum N unit_of v y) ->
      let αhat := fun t => Head.αhat_poisson N unit_of y (x t) in
      is_derive (fun t => (Σ (i < N) (exp (η (αhat t) t i) - y i * η (αhat t) t i)) / INR N) t0
        (gradient_times_direction (fun i => (exp (η (αhat t0) t0 i) - y i) / INR N)).
    Proof.
      intros Hy αhat. rewrite <- layers_backward.
      exact (Head.poisson_profiled_gradient N (p L) q U W y unit_of t0 (fun i j t => A t L i j) Γout δ (A' L) Γout' δ'
        units (derive_A_l L (Nat.le_refl L)) HΓout Hδ Hy).
    Qed.

    Theorem deep_logistic_profiled (αhat : R -> nat -> R) :
      minimises Head.logistic αhat ->
      is_derive (fun t => (Σ (i < N) (ln (1 + exp (η (αhat t) t i)) - y i * η (αhat t) t i)) / INR N) t0
        (gradient_times_direction (fun i => (Head.σ (η (αhat t0) t0 i) - y i) / INR N)).
    Proof.
      intros Hmin. rewrite <- layers_backward.
      exact (Head.logistic_profiled_gradient N (p L) q U W y unit_of t0 (fun i j t => A t L i j) Γout δ (A' L) Γout' δ'
        units (derive_A_l L (Nat.le_refl L)) HΓout Hδ αhat Hmin).
    Qed.
  End WithHead.
End Gradient.

(* The partial derivatives, for any loss: one entry of a layer moves, all others stay. *)
Section Partial.
  Variables (N L : nat) (ddof eps : R) (a a' : R -> R) (p : nat -> nat).
  Variables (X : nat -> nat -> R) (Γ : nat -> nat -> nat -> R) (γ β : nat -> nat -> R).
  Variables (q : nat) (W : nat -> nat -> R) (y : nat -> R) (unit_of : nat -> nat) (Γout δ α : nat -> R).
  Variables (ℓ ℓ' : R -> R -> R).

  (* Γ with entry k, j of Γ_l replaced by v; set2, of OneLayer, does it for X, and for γ and β with entry l, j. *)
  Definition set3 (Γ : nat -> nat -> nat -> R) (l k j : nat) (v : R) (m : nat) : nat -> nat -> R :=
    if Nat.eqb m l then OneLayer.set2 (Γ l) k j v else Γ m.
  Notation set2 := OneLayer.set2.

  Notation η X Γ γ β := (Head.η (p L) q (A N ddof eps a p X Γ γ β L) W Γout δ unit_of α).
  Notation Risk X Γ γ β := (Head.Risk N ℓ y (η X Γ γ β)).
  Notation B := (B N ddof eps a p X Γ γ β).
  Notation variance := (variance N ddof eps a p X Γ γ β).
  (* ∂A_L = r Γ_outᵀ, with r = ∂R/∂η *)
  Notation top := (Head.dA Γout (Head.r N ℓ' y (η X Γ γ β))).

  Hypothesis rows : INR N <> 0.
  Hypothesis divisor : INR N - ddof <> 0.
  Hypothesis positive : forall l j, (1 <= l <= L)%nat -> (j < p l)%nat -> 0 < variance l j.
  Hypothesis differentiable : forall l i j, (1 <= l <= L)%nat -> (i < N)%nat -> (j < p l)%nat ->
    is_derive a (B l i j) (a' (B l i j)).
  Hypothesis Hℓ : forall i, (i < N)%nat -> is_derive (ℓ (y i)) (η X Γ γ β i) (ℓ' (y i) (η X Γ γ β i)).

  Lemma set3_same l k j : set3 Γ l k j (Γ l k j) = Γ.
  Proof.
    apply functional_extensionality. intros m. unfold set3.
    destruct (Nat.eqb_spec m l) as [->|]; [apply OneLayer.set2_same|reflexivity].
  Qed.

  Lemma derive_set3 l k j t m h i :
    is_derive (fun v => set3 Γ l k j v m h i) t (Sums.δ m l * (Sums.δ h k * Sums.δ i j)).
  Proof.
    unfold set3. destruct (Nat.eqb_spec m l) as [->|E].
    - rewrite δ_same, Rmult_1_l. apply OneLayer.derive_set2.
    - rewrite δ_other, Rmult_0_l by exact E. apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule)).
  Qed.

  (* Of a sum over the layers with δ, layer l's entry is left. *)
  Lemma sum_one_layer (u : nat -> R) l : (1 <= l <= L)%nat -> Σ (m < L) Sums.δ (S m) l * u (S m) = u l.
  Proof. intros Hl. destruct l as [|l]; [lia|]. apply (sum_δ L (fun m => u (S m))). lia. Qed.

  (* And of one over the layers and their nodes with two, entry l, j. *)
  Lemma sum_one_entry (u : nat -> nat -> R) l j : (1 <= l <= L)%nat -> (j < p l)%nat ->
    Σ (m < L) Σ (i < p (S m)) u (S m) i * (Sums.δ (S m) l * Sums.δ i j) = u l j.
  Proof.
    intros Hl Hj. rewrite <- (sum_one_layer (fun m => u m j) l Hl). apply sum_ext. intros m _.
    destruct (Nat.eq_dec (S m) l) as [<-|E].
    - rewrite <- (OneLayer.sum_times_δ (p (S m)) (u (S m)) j Hj), δ_same, Rmult_1_l.
      apply sum_ext. intros. now rewrite Rmult_1_l.
    - rewrite δ_other, Rmult_0_l by exact E.
      transitivity (Σ (i < p (S m)) u (S m) i * 0); [|apply OneLayer.sum_times_0].
      apply sum_ext. intros. now rewrite Rmult_0_l.
  Qed.

  Lemma stays c t : is_derive (fun _ : R => c) t 0.
  Proof. apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule)). Qed.

  (* The derivative is what H says, if that is the same number. *)
  Ltac derivative_is H := cbv zeta in H; match type of H with
    | is_derive _ _ ?d => match goal with |- is_derive _ _ ?d' => replace d' with d; [exact H|clear H] end
    end.
  Ltac zeros := rewrite ?OneLayer.sum_times_00, ?OneLayer.sum_times_0, ?Rplus_0_l, ?Rplus_0_r.

  Corollary partial_Γ_l l k j : (1 <= l <= L)%nat -> (k < p (pred l))%nat -> (j < p l)%nat ->
    is_derive (fun v => Risk X (set3 Γ l k j v) γ β) (Γ l k j) (dΓ N ddof eps a a' p X Γ γ β L top l k j).
  Proof.
    intros Hl Hk Hj. destruct (Head.unit_bound N unit_of) as [U units].
    pose proof (deep_gradient N L ddof eps a a' p (Γ l k j) (fun i h _ => X i h) (fun m h i v => set3 Γ l k j v m h i)
      (fun m i _ => γ m i) (fun m i _ => β m i) (fun _ _ => 0)
      (fun m h i => Sums.δ m l * (Sums.δ h k * Sums.δ i j)) (fun _ _ => 0) (fun _ _ => 0) rows divisor) as H.
    cbv beta in H. change (fun m h i => set3 Γ l k j (Γ l k j) m h i) with (set3 Γ l k j (Γ l k j)) in H.
    rewrite set3_same in H.
    specialize (H positive differentiable (fun _ _ _ _ => stays _ _) (fun m h i _ _ _ => derive_set3 l k j _ m h i)
      (fun _ _ _ _ => stays _ _) (fun _ _ _ _ => stays _ _)
      q U W y unit_of (fun i _ => Γout i) (fun i _ => δ i) (fun _ => 0) (fun _ => 0)
      units (fun _ _ => stays _ _) (fun _ _ => stays _ _) (fun v _ => α v) (fun _ => 0) (fun _ _ => stays _ _) ℓ ℓ' Hℓ).
    derivative_is H. rewrite <- (sum_one_layer (fun m => dΓ N ddof eps a a' p X Γ γ β L top m k j) l Hl).
    zeros. apply sum_ext. intros m _. zeros.
    destruct (Nat.eq_dec (S m) l) as [<-|E].
    - rewrite <- (OneLayer.sum_times_δ2 (p m) (p (S m)) (dΓ N ddof eps a a' p X Γ γ β L top (S m)) k j Hk Hj).
      rewrite δ_same, Rmult_1_l. apply sum_ext. intros. apply sum_ext. intros. now rewrite Rmult_1_l.
    - rewrite δ_other, Rmult_0_l by exact E.
      transitivity (Σ (h < p m) Σ (i < p (S m)) dΓ N ddof eps a a' p X Γ γ β L top (S m) h i * 0);
        [|apply OneLayer.sum_times_00].
      apply sum_ext. intros. apply sum_ext. intros. now rewrite Rmult_0_l.
  Qed.

  Corollary partial_γ_l l j : (1 <= l <= L)%nat -> (j < p l)%nat ->
    is_derive (fun v => Risk X Γ (set2 γ l j v) β) (γ l j) (dγ N ddof eps a a' p X Γ γ β L top l j).
  Proof.
    intros Hl Hj. destruct (Head.unit_bound N unit_of) as [U units].
    pose proof (deep_gradient N L ddof eps a a' p (γ l j) (fun i h _ => X i h) (fun m h i _ => Γ m h i)
      (fun m i v => set2 γ l j v m i) (fun m i _ => β m i) (fun _ _ => 0) (fun _ _ _ => 0)
      (fun m i => Sums.δ m l * Sums.δ i j) (fun _ _ => 0) rows divisor) as H.
    cbv beta in H. change (fun m i => set2 γ l j (γ l j) m i) with (set2 γ l j (γ l j)) in H.
    rewrite OneLayer.set2_same in H.
    specialize (H positive differentiable (fun _ _ _ _ => stays _ _) (fun _ _ _ _ _ _ => stays _ _)
      (fun m i _ _ => OneLayer.derive_set2 γ l j _ m i) (fun _ _ _ _ => stays _ _)
      q U W y unit_of (fun i _ => Γout i) (fun i _ => δ i) (fun _ => 0) (fun _ => 0)
      units (fun _ _ => stays _ _) (fun _ _ => stays _ _) (fun v _ => α v) (fun _ => 0) (fun _ _ => stays _ _) ℓ ℓ' Hℓ).
    derivative_is H. rewrite <- (sum_one_entry (dγ N ddof eps a a' p X Γ γ β L top) l j Hl Hj).
    zeros. apply sum_ext. intros m _. now zeros.
  Qed.

  Corollary partial_β_l l j : (1 <= l <= L)%nat -> (j < p l)%nat ->
    is_derive (fun v => Risk X Γ γ (set2 β l j v)) (β l j) (dβ N ddof eps a a' p X Γ γ β L top l j).
  Proof.
    intros Hl Hj. destruct (Head.unit_bound N unit_of) as [U units].
    pose proof (deep_gradient N L ddof eps a a' p (β l j) (fun i h _ => X i h) (fun m h i _ => Γ m h i)
      (fun m i _ => γ m i) (fun m i v => set2 β l j v m i) (fun _ _ => 0) (fun _ _ _ => 0) (fun _ _ => 0)
      (fun m i => Sums.δ m l * Sums.δ i j) rows divisor) as H.
    cbv beta in H. change (fun m i => set2 β l j (β l j) m i) with (set2 β l j (β l j)) in H.
    rewrite OneLayer.set2_same in H.
    specialize (H positive differentiable (fun _ _ _ _ => stays _ _) (fun _ _ _ _ _ _ => stays _ _)
      (fun _ _ _ _ => stays _ _) (fun m i _ _ => OneLayer.derive_set2 β l j _ m i)
      q U W y unit_of (fun i _ => Γout i) (fun i _ => δ i) (fun _ => 0) (fun _ => 0)
      units (fun _ _ => stays _ _) (fun _ _ => stays _ _) (fun v _ => α v) (fun _ => 0) (fun _ _ => stays _ _) ℓ ℓ' Hℓ).
    derivative_is H. rewrite <- (sum_one_entry (dβ N ddof eps a a' p X Γ γ β L top) l j Hl Hj).
    zeros. apply sum_ext. intros m _. now zeros.
  Qed.

  (* The inputs: A_0 is X. *)
  Corollary partial_A_0 i k : (i < N)%nat -> (k < p 0)%nat ->
    is_derive (fun v => Risk (set2 X i k v) Γ γ β) (X i k) (dA N ddof eps a a' p X Γ γ β L top 0 i k).
  Proof.
    intros Hi Hk. destruct (Head.unit_bound N unit_of) as [U units].
    pose proof (deep_gradient N L ddof eps a a' p (X i k) (fun m h v => set2 X i k v m h) (fun m h i _ => Γ m h i)
      (fun m i _ => γ m i) (fun m i _ => β m i) (fun m h => Sums.δ m i * Sums.δ h k) (fun _ _ _ => 0) (fun _ _ => 0)
      (fun _ _ => 0) rows divisor) as H.
    cbv beta in H. change (fun m h => set2 X i k (X i k) m h) with (set2 X i k (X i k)) in H.
    rewrite OneLayer.set2_same in H.
    specialize (H positive differentiable (fun m h _ _ => OneLayer.derive_set2 X i k _ m h)
      (fun _ _ _ _ _ _ => stays _ _) (fun _ _ _ _ => stays _ _) (fun _ _ _ _ => stays _ _)
      q U W y unit_of (fun i _ => Γout i) (fun i _ => δ i) (fun _ => 0) (fun _ => 0)
      units (fun _ _ => stays _ _) (fun _ _ => stays _ _) (fun v _ => α v) (fun _ => 0) (fun _ _ => stays _ _) ℓ ℓ' Hℓ).
    derivative_is H. zeros. rewrite (OneLayer.sum_times_δ2 N (p 0) _ i k Hi Hk).
    rewrite (sum_ext L _ (fun _ => 0)), sum_zero; [apply Rplus_0_l|]. intros m _. now zeros.
  Qed.
End Partial.

(* One layer, the squared loss, and A Γ_out alone in the head: the risk and the gradients are those of OneLayer. *)
Corollary one_layer N ddof eps a a' p X Γ γ β (y Γout : nat -> R) :
  let A_1 := A N ddof eps a p X Γ γ β 1 in
  let η := Head.η (p 1%nat) 0 A_1 (fun _ _ => 0) Γout (fun _ => 0) (fun _ => 0%nat) (fun _ => 0) in
  let r := fun i => - (2 / INR N) * (y i - η i) in
  let top := Head.dA Γout r in
  let p1 := p 0%nat in let p2 := p 1%nat in let Γ1 := Γ 1%nat in let γ1 := γ 1%nat in let β1 := β 1%nat in
  Head.Risk N Head.squared y η = OneLayer.Risk N p1 p2 ddof eps a X y Γ1 γ1 β1 Γout /\
  (forall k j, dΓ N ddof eps a a' p X Γ γ β 1 top 1 k j = OneLayer.dΓ1 N p1 p2 ddof eps a a' X y Γ1 γ1 β1 Γout k j) /\
  (forall j, dγ N ddof eps a a' p X Γ γ β 1 top 1 j = OneLayer.dγ N p1 p2 ddof eps a a' X y Γ1 γ1 β1 Γout j) /\
  (forall j, dβ N ddof eps a a' p X Γ γ β 1 top 1 j = OneLayer.dβ N p1 p2 ddof eps a a' X y Γ1 γ1 β1 Γout j) /\
  (forall j, Head.dΓout N A_1 r j = OneLayer.dΓ2 N p1 p2 ddof eps a X y Γ1 γ1 β1 Γout j) /\
  (forall i k, dA N ddof eps a a' p X Γ γ β 1 top 0 i k = OneLayer.dX N p1 p2 ddof eps a a' X y Γ1 γ1 β1 Γout i k).
Proof.
  intros A_1 η r top p1 p2 Γ1 γ1 β1.
  assert (Eη : forall i, y i - η i = OneLayer.e N p1 p2 ddof eps a X y Γ1 γ1 β1 Γout i).
  { intros i. transitivity (y i - (OneLayer.yhat N p1 p2 ddof eps a X Γ1 γ1 β1 Γout i + 0 + 0)); [reflexivity|].
    unfold OneLayer.e. ring. }
  assert (ES : stub N ddof eps a a' p X Γ γ β 1 top 1 = OneLayer.stub N p1 p2 ddof eps a a' X y Γ1 γ1 β1 Γout).
  { apply functional_extensionality. intros i. apply functional_extensionality. intros j.
    transitivity (- (2 / INR N) * (y i - η i) * Γout j * a' (OneLayer.B N p1 ddof eps X Γ1 γ1 β1 i j)); [reflexivity|].
    rewrite Eη. unfold OneLayer.stub. ring. }
  assert (EZ : dZ N ddof eps a a' p X Γ γ β 1 top 1 = OneLayer.dZ N p1 p2 ddof eps a a' X y Γ1 γ1 β1 Γout).
  { apply functional_extensionality. intros i. apply functional_extensionality. intros j.
    unfold dZ, dβ, dγ. rewrite ES. reflexivity. }
  repeat split.
  - unfold Head.Risk, OneLayer.Risk. f_equal. apply sum_ext. intros i _. unfold Head.squared. now rewrite Eη.
  - intros k j. unfold dΓ. rewrite EZ. reflexivity.
  - intros j. unfold dγ. rewrite ES. reflexivity.
  - intros j. unfold dβ. rewrite ES. reflexivity.
  - intros j. unfold Head.dΓout, OneLayer.dΓ2, r. rewrite <- sum_scal_l. apply sum_ext. intros i _.
    rewrite Eη. change (A_1 i j) with (OneLayer.A N p1 ddof eps a X Γ1 γ1 β1 i j). ring.
  - intros i k. change (dA N ddof eps a a' p X Γ γ β 1 top 0 i k)
      with (dA N ddof eps a a' p X Γ γ β 1 top (pred 1) i k).
    rewrite backward_equation, EZ by lia. reflexivity.
Qed.

(* With panel effects profiled out and the identity activation in the last layer, β_L has no gradient. *)
Corollary profiled_linear_β N ddof eps a p X Γ γ β L U unit_of Γout r j :
  (forall i, (i < N)%nat -> (unit_of i < U)%nat) ->
  (forall v, (v < U)%nat -> Head.unit_sum N unit_of v r = 0) ->
  dβ N ddof eps a (fun _ => 1) p X Γ γ β L (Head.dA Γout r) L j = 0.
Proof.
  intros units zero. rewrite <- (Head.head_slope_sums_to_zero N U unit_of Γout r units zero j).
  apply sum_ext. intros i _. unfold stub. rewrite backward_top. ring.
Qed.

(* What is assumed of the variances holds for eps > 0 of any data and any number of layers; *)
Lemma variance_positive N ddof eps a p X Γ γ β l j :
  0 < INR N - ddof -> 0 < eps -> 0 < variance N ddof eps a p X Γ γ β l j.
Proof.
  intros divisor Heps. unfold variance.
  assert (0 <= Σ (i < N) (Z N ddof eps a p X Γ γ β l i j - μ N ddof eps a p X Γ γ β l j) ^ 2)
    by (apply sum_nonneg; intros; apply pow2_ge_0).
  assert (0 <= (Σ (i < N) (Z N ddof eps a p X Γ γ β l i j - μ N ddof eps a p X Γ γ β l j) ^ 2) / (INR N - ddof));
    [|lra]. apply Rmult_le_pos; [assumption|]. apply Rlt_le, Rinv_0_lt_compat, divisor.
Qed.

(* and for ddof 1, eps 0 there are data with two layers: two rows, X = (0, 1)ᵀ, one node a layer, Γ = γ = 1, β = 0. *)
Example deep_data_exist :
  let X := fun i (k : nat) => INR i in
  INR 2 <> 0 /\ INR 2 - 1 <> 0 /\
  forall l j, (1 <= l <= 2)%nat -> (j < 1)%nat ->
    0 < variance 2 1 0 (fun v => v) (fun _ => 1%nat) X (fun _ _ _ => 1) (fun _ _ => 1) (fun _ _ => 0) l j /\
    forall i, is_derive (fun v => v) (B 2 1 0 (fun v => v) (fun _ => 1%nat) X (fun _ _ _ => 1) (fun _ _ => 1)
      (fun _ _ => 0) l i j) 1.
Proof.
  intros X. split; [simpl; lra|split; [simpl; lra|]]. intros l j Hl Hj.
  split; [|intros; apply (is_derive_id (K := R_AbsRing))].
  set (Z_ := Z 2 1 0 (fun v => v) (fun _ => 1%nat) X (fun _ _ _ => 1) (fun _ _ => 1) (fun _ _ => 0)).
  set (s_ := s 2 1 0 (fun v => v) (fun _ => 1%nat) X (fun _ _ _ => 1) (fun _ _ => 1) (fun _ _ => 0)).
  set (two := fun u v => (0 + (u - (0 + u + v) / (1 + 1)) ^ 2 + (v - (0 + u + v) / (1 + 1)) ^ 2) / (1 + 1 - 1) + 0).
  assert (Etwo : forall u v, two u v = (v - u) ^ 2 / 2) by (intros; unfold two; field).
  assert (V : 0 < two (Z_ l 0%nat j) (Z_ l 1%nat j)); [|exact V]. rewrite Etwo.
  assert (Z1 : forall i h, Z_ 1%nat i h = INR i) by (intros; unfold Z_, Z, X; simpl; ring).
  assert (E : l = 1%nat \/ l = 2%nat) by lia. destruct E as [-> | ->]; [rewrite !Z1; simpl; lra|].
  assert (P : 0 < s_ 1%nat 0%nat).
  { apply sqrt_lt_R0. assert (V : 0 < two (Z_ 1%nat 0%nat 0%nat) (Z_ 1%nat 1%nat 0%nat)); [|exact V].
    rewrite Etwo, !Z1. simpl. lra. }
  assert (Z2 : forall i h, Z_ 2%nat i h = (INR i - 1 / 2) / s_ 1%nat 0%nat).
  { intros i h.
    transitivity (0 + (1 * ((Z_ 1%nat i 0%nat - (0 + Z_ 1%nat 0%nat 0%nat + Z_ 1%nat 1%nat 0%nat) / (1 + 1))
      / s_ 1%nat 0%nat) + 0) * 1); [reflexivity|]. rewrite !Z1. simpl. field. lra. }
  rewrite !Z2. replace (_ / 2) with ((1 / s_ 1%nat 0%nat) ^ 2 / 2) by (simpl; field; lra).
  apply Rdiv_lt_0_compat; [|lra]. apply pow_lt, Rdiv_lt_0_compat; lra.
Qed.
