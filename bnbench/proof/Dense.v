(* A layer with weights, and the head with the loss, forward and backward.

   A layer is one primitive: of its inputs M and its parameters Γ, γ, β it makes Z = M Γ, X̂, B and A = a(B); of a loss'
   slope dA = ∂R/∂A it makes ∂R/∂Γ, ∂R/∂γ, ∂R/∂β and ∂R/∂M.  M is X for the first layer, and for the others what the
   layer before puts out: layer_backward has inputs that move.  It is normalised with the batch's statistics, with
   frozen ones, or not at all.  The head is ŷ = A Γ2 with R = (1/N) Σ (y - ŷ)².

     product_backward        a loss whose slope in Z is dZ moves by Σ Σ dZ Z' = Σ Σ ∂Γ Γ' + Σ Σ ∂M M'
     layer_backward          a loss whose slope in A is dA moves by
                             Σ Σ dA A' = Σ Σ ∂Γ Γ' + Σ ∂γ γ' + Σ ∂β β' + Σ Σ ∂M M'
     frozen_layer_backward   the same with frozen statistics
     plain_layer_backward    the same without normalisation
     head_backward           R moves by Σ Σ ∂A A' + Σ ∂Γ2 Γ2'

   Layers are composed by these and by derive_A: the A' of a layer is the M' of the next, its ∂M the dA of the one
   before.

   The layer has N rows i, p inputs k and q nodes j.  Matrices are functions of two indices, and only those in range
   matter.  What is written with t is of parameters at t: they move along curves, and ' marks a derivative at t0, as in
   Layer; M_, Γ_, γ_ and β_ are those at t0. *)
From Coq Require Import Reals Lra Lia.
From Coquelicot Require Import Coquelicot.
From bnbench Require Import Sums Layer.
Open Scope R_scope.

Section Forward.
  Variables (N p : nat) (ddof eps : R) (a : R -> R).
  Variables (M Γ : nat -> nat -> R) (γ β : nat -> R).

  (* Z = M Γ, then column by column μ, s and X̂ (of Layer), B = γ ⊙ X̂ + β, and A = a(B) *)
  Definition Z (i j : nat) : R := Σ (k < p) M i k * Γ k j.
  Definition s (j : nat) : R := Layer.s N ddof eps (fun i => Z i j).
  Definition Xhat (i j : nat) : R := Layer.Xhat N ddof eps (fun l => Z l j) i.
  Definition B (i j : nat) : R := γ j * Xhat i j + β j.
  Definition A (i j : nat) : R := a (B i j).
End Forward.

Section Backward.
  Variables (N p q : nat) (ddof eps : R) (a' : R -> R).
  Variables (M Γ : nat -> nat -> R) (γ β : nat -> R) (dA : nat -> nat -> R).

  Notation s j := (s N p ddof eps M Γ j).
  Notation Xhat i j := (Xhat N p ddof eps M Γ i j).
  Notation B i j := (B N p ddof eps M Γ γ β i j).

  (* S = ∂R/∂A ⊙ a'(B), the stub:  ∂β = 1ᵀ S,  ∂γ = 1ᵀ (S ⊙ X̂),
     dZ = (γ/s) ⊙ (S - 1 ∂βᵀ/N - X̂ ⊙ ∂γᵀ/(N - ddof)) *)
  Definition stub (i j : nat) : R := dA i j * a' (B i j).
  Definition dβ (j : nat) : R := Σ (i < N) stub i j.
  Definition dγ (j : nat) : R := Σ (i < N) stub i j * Xhat i j.
  Definition dZ (i j : nat) : R :=
    γ j / s j * (stub i j - dβ j / INR N - Xhat i j * dγ j / (INR N - ddof)).
End Backward.

(* ∂Γ = Mᵀ dZ,  ∂M = dZ Γᵀ *)
Definition dΓ (N : nat) (M dZ : nat -> nat -> R) (k j : nat) : R := Σ (i < N) M i k * dZ i j.
Definition dM (q : nat) (Γ dZ : nat -> nat -> R) (i k : nat) : R := Σ (j < q) dZ i j * Γ k j.

Section Product.
  Variables (N p q : nat) (t0 : R).
  Variables (M Γ : nat -> nat -> R -> R) (M' Γ' : nat -> nat -> R).
  Hypothesis HM : forall i k, (i < N)%nat -> (k < p)%nat -> is_derive (M i k) t0 (M' i k).
  Hypothesis HΓ : forall k j, (k < p)%nat -> (j < q)%nat -> is_derive (Γ k j) t0 (Γ' k j).

  Notation Z i j t := (Z p (fun i k => M i k t) (fun k j => Γ k j t) i j).

  (* Z' = M' Γ + M Γ' *)
  Definition Z' (i j : nat) : R := Σ (k < p) (M' i k * Γ k j t0 + M i k t0 * Γ' k j).

  Lemma derive_Z i j : (i < N)%nat -> (j < q)%nat -> is_derive (fun t => Z i j t) t0 (Z' i j).
  Proof.
    intros Hi Hj. apply (derive_sum p (fun k t => M i k t * Γ k j t)). intros k Hk.
    apply derive_times; auto.
  Qed.

  (* A loss whose slope in Z is dZ has slope Mᵀ dZ in Γ and dZ Γᵀ in M. *)
  Theorem product_backward (dZ : nat -> nat -> R) :
    Σ (i < N) Σ (j < q) dZ i j * Z' i j
    = (Σ (k < p) Σ (j < q) dΓ N (fun i k => M i k t0) dZ k j * Γ' k j)
      + Σ (i < N) Σ (k < p) dM q (fun k j => Γ k j t0) dZ i k * M' i k.
  Proof.
    assert (E1 : Σ (k < p) Σ (j < q) dΓ N (fun i k => M i k t0) dZ k j * Γ' k j
               = Σ (i < N) Σ (j < q) Σ (k < p) dZ i j * (M i k t0 * Γ' k j)).
    { rewrite (sum_swap N q), (sum_swap p q). apply sum_ext. intros j _. rewrite (sum_swap N p).
      apply sum_ext. intros k _. unfold dΓ. rewrite <- sum_scal_r. apply sum_ext. intros; ring. }
    assert (E2 : Σ (i < N) Σ (k < p) dM q (fun k j => Γ k j t0) dZ i k * M' i k
               = Σ (i < N) Σ (j < q) Σ (k < p) dZ i j * (M' i k * Γ k j t0)).
    { apply sum_ext. intros i _. rewrite (sum_swap q p). apply sum_ext. intros k _.
      unfold dM. rewrite <- sum_scal_r. apply sum_ext. intros; ring. }
    rewrite E1, E2, <- sum_plus. apply sum_ext. intros i _. rewrite <- sum_plus. apply sum_ext. intros j _.
    rewrite <- sum_plus. unfold Z'. rewrite <- sum_scal_l. apply sum_ext. intros; ring.
  Qed.
End Product.

(* Sums over rows and nodes that agree node by node agree. *)
Lemma sum_columns N q (u v : nat -> nat -> R) (w : nat -> R) :
  (forall j, (j < q)%nat -> Σ (i < N) u i j = (Σ (i < N) v i j) + w j) ->
  Σ (i < N) Σ (j < q) u i j = (Σ (i < N) Σ (j < q) v i j) + sum q w.
Proof.
  intros H. rewrite (sum_swap N q u), (sum_swap N q v), <- sum_plus. now apply sum_ext.
Qed.

(* A layer with the batch's statistics. *)
Section BatchLayer.
  Variables (N p q : nat) (ddof eps t0 : R) (a a' : R -> R).
  Variables (M Γ : nat -> nat -> R -> R) (γ β : nat -> R -> R) (M' Γ' : nat -> nat -> R) (γ' β' : nat -> R).

  Notation M_ := (fun i k => M i k t0).
  Notation Γ_ := (fun k j => Γ k j t0).
  Notation γ_ := (fun j => γ j t0).
  Notation β_ := (fun j => β j t0).
  Notation Z i j t := (Z p (fun i k => M i k t) (fun k j => Γ k j t) i j).
  Notation B i j t :=
    (B N p ddof eps (fun i k => M i k t) (fun k j => Γ k j t) (fun j => γ j t) (fun j => β j t) i j).
  Notation A i j t :=
    (A N p ddof eps a (fun i k => M i k t) (fun k j => Γ k j t) (fun j => γ j t) (fun j => β j t) i j).

  Hypothesis rows : INR N <> 0.
  Hypothesis divisor : INR N - ddof <> 0.
  Hypothesis positive : forall j, (j < q)%nat -> 0 < variance N ddof eps (fun i => Z i j t0).
  Hypothesis HM : forall i k, (i < N)%nat -> (k < p)%nat -> is_derive (M i k) t0 (M' i k).
  Hypothesis HΓ : forall k j, (k < p)%nat -> (j < q)%nat -> is_derive (Γ k j) t0 (Γ' k j).
  Hypothesis Hγ : forall j, (j < q)%nat -> is_derive (γ j) t0 (γ' j).
  Hypothesis Hβ : forall j, (j < q)%nat -> is_derive (β j) t0 (β' j).
  Hypothesis Ha : forall i j, (i < N)%nat -> (j < q)%nat -> is_derive a (B i j t0) (a' (B i j t0)).

  Notation Z' i j := (Z' p t0 M Γ M' Γ' i j).

  (* B' of Layer, in column j; A' = a'(B) B' *)
  Definition B' (i j : nat) : R :=
    Layer.B' N ddof eps t0 (fun i t => Z i j t) (fun i => Z' i j) (γ j) (γ' j) (β' j) i.
  Definition A' (i j : nat) : R := a' (B i j t0) * B' i j.

  Lemma derive_B i j : (i < N)%nat -> (j < q)%nat -> is_derive (fun t => B i j t) t0 (B' i j).
  Proof.
    intros Hi Hj. apply (Layer.derive_B N ddof eps t0 (fun i t => Z i j t)); auto.
    intros l Hl. now apply (derive_Z N p q).
  Qed.

  Lemma derive_A i j : (i < N)%nat -> (j < q)%nat -> is_derive (fun t => A i j t) t0 (A' i j).
  Proof.
    intros Hi Hj. apply (derive_through (fun t => B i j t) (B' i j) t0); [now apply derive_B|now apply Ha].
  Qed.

  Notation dZ_ := (dZ N p ddof eps a' M_ Γ_ γ_ β_).
  Notation dγ_ := (dγ N p ddof eps a' M_ Γ_ γ_ β_).
  Notation dβ_ := (dβ N p ddof eps a' M_ Γ_ γ_ β_).

  (* The layer backward: a loss whose slope in A is dA moves by Σ Σ dA A', and that is
     Σ ∂Γ Γ' + Σ ∂γ γ' + Σ ∂β β' + Σ ∂M M'. *)
  Theorem layer_backward (dA : nat -> nat -> R) :
    Σ (i < N) Σ (j < q) dA i j * A' i j
    = (Σ (k < p) Σ (j < q) dΓ N M_ (dZ_ dA) k j * Γ' k j)
      + (Σ (j < q) dγ_ dA j * γ' j)
      + (Σ (j < q) dβ_ dA j * β' j)
      + Σ (i < N) Σ (k < p) dM q Γ_ (dZ_ dA) i k * M' i k.
  Proof.
    set (S := stub N p ddof eps a' M_ Γ_ γ_ β_ dA).
    set (D := dZ_ dA).
    rewrite (sum_columns N q _ (fun i j => D i j * Z' i j)
      (fun j => dγ_ dA j * γ' j + dβ_ dA j * β' j)).
    - rewrite product_backward, sum_plus. ring.
    - intros j Hj.
      rewrite (sum_ext N (fun i => dA i j * A' i j) (fun i => S i j * B' i j))
        by (intros; unfold A', S, stub; ring).
      pose proof (layer_gradient N ddof eps t0 (fun i t => Z i j t) (fun i => Z' i j) (γ j) (γ' j) (β' j)
        rows divisor (positive j Hj) (fun i => S i j)) as E.
      rewrite <- Rplus_assoc. exact E.
  Qed.
End BatchLayer.

(* A layer with frozen statistics: μ and σ² are given, s = sqrt(σ² + eps), and nothing flows through them. *)
Section FrozenForward.
  Variables (p : nat) (eps : R) (μ σ2 : nat -> R) (a : R -> R) (M Γ : nat -> nat -> R) (γ β : nat -> R).

  Definition frozen_s (j : nat) : R := sqrt (σ2 j + eps).
  Definition frozen_Xhat (i j : nat) : R := (Z p M Γ i j - μ j) / frozen_s j.
  Definition frozen_B (i j : nat) : R := γ j * frozen_Xhat i j + β j.
  Definition frozen_A (i j : nat) : R := a (frozen_B i j).
End FrozenForward.

Section FrozenBackward.
  Variables (N p : nat) (eps : R) (μ σ2 : nat -> R) (a' : R -> R) (M Γ : nat -> nat -> R) (γ β : nat -> R).
  Variable dA : nat -> nat -> R.

  (* S = ∂R/∂A ⊙ a'(B):  ∂β = 1ᵀ S,  ∂γ = 1ᵀ (S ⊙ X̂),  dZ = (γ/s) ⊙ S *)
  Definition frozen_stub (i j : nat) : R := dA i j * a' (frozen_B p eps μ σ2 M Γ γ β i j).
  Definition frozen_dβ (j : nat) : R := Σ (i < N) frozen_stub i j.
  Definition frozen_dγ (j : nat) : R := Σ (i < N) frozen_stub i j * frozen_Xhat p eps μ σ2 M Γ i j.
  Definition frozen_dZ (i j : nat) : R := γ j / frozen_s eps σ2 j * frozen_stub i j.
End FrozenBackward.

Section FrozenLayer.
  Variables (N p q : nat) (eps t0 : R) (μ σ2 : nat -> R) (a a' : R -> R).
  Variables (M Γ : nat -> nat -> R -> R) (γ β : nat -> R -> R) (M' Γ' : nat -> nat -> R) (γ' β' : nat -> R).

  Notation M_ := (fun i k => M i k t0).
  Notation Γ_ := (fun k j => Γ k j t0).
  Notation γ_ := (fun j => γ j t0).
  Notation β_ := (fun j => β j t0).
  Notation Z i j t := (Z p (fun i k => M i k t) (fun k j => Γ k j t) i j).
  Notation Z' i j := (Z' p t0 M Γ M' Γ' i j).
  Notation s j := (frozen_s eps σ2 j).
  Notation Xhat i j t := (frozen_Xhat p eps μ σ2 (fun i k => M i k t) (fun k j => Γ k j t) i j).
  Notation B i j t :=
    (frozen_B p eps μ σ2 (fun i k => M i k t) (fun k j => Γ k j t) (fun j => γ j t) (fun j => β j t) i j).
  Notation A i j t :=
    (frozen_A p eps μ σ2 a (fun i k => M i k t) (fun k j => Γ k j t) (fun j => γ j t) (fun j => β j t) i j).

  Hypothesis positive : forall j, (j < q)%nat -> 0 < σ2 j + eps.
  Hypothesis HM : forall i k, (i < N)%nat -> (k < p)%nat -> is_derive (M i k) t0 (M' i k).
  Hypothesis HΓ : forall k j, (k < p)%nat -> (j < q)%nat -> is_derive (Γ k j) t0 (Γ' k j).
  Hypothesis Hγ : forall j, (j < q)%nat -> is_derive (γ j) t0 (γ' j).
  Hypothesis Hβ : forall j, (j < q)%nat -> is_derive (β j) t0 (β' j).
  Hypothesis Ha : forall i j, (i < N)%nat -> (j < q)%nat -> is_derive a (B i j t0) (a' (B i j t0)).

  (* A' = a'(B) B' *)
  Definition frozen_A' (i j : nat) : R :=
    a' (B i j t0) * (γ' j * Xhat i j t0 + γ j t0 * (Z' i j / s j) + β' j).

  Lemma derive_frozen_A i j : (i < N)%nat -> (j < q)%nat -> is_derive (fun t => A i j t) t0 (frozen_A' i j).
  Proof.
    intros Hi Hj. apply (derive_through (fun t => B i j t)); [|now apply Ha].
    apply (derive_affine (γ j) (fun t => Xhat i j t) (β j)); auto.
    apply (derive_div (fun t => Z i j t - μ j)).
    replace (Z' i j) with (Z' i j - 0) by ring.
    apply (is_derive_minus (K := R_AbsRing) (V := R_NormedModule) (fun t => Z i j t) (fun _ => μ j) t0);
      [now apply (derive_Z N p q)|]. apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule)).
  Qed.

  Notation dZ_ := (frozen_dZ p eps μ σ2 a' M_ Γ_ γ_ β_).
  Notation dγ_ := (frozen_dγ N p eps μ σ2 a' M_ Γ_ γ_ β_).
  Notation dβ_ := (frozen_dβ N p eps μ σ2 a' M_ Γ_ γ_ β_).

  Theorem frozen_layer_backward (dA : nat -> nat -> R) :
    Σ (i < N) Σ (j < q) dA i j * frozen_A' i j
    = (Σ (k < p) Σ (j < q) dΓ N M_ (dZ_ dA) k j * Γ' k j)
      + (Σ (j < q) dγ_ dA j * γ' j)
      + (Σ (j < q) dβ_ dA j * β' j)
      + Σ (i < N) Σ (k < p) dM q Γ_ (dZ_ dA) i k * M' i k.
  Proof.
    set (D := dZ_ dA).
    rewrite (sum_columns N q _ (fun i j => D i j * Z' i j)
      (fun j => dγ_ dA j * γ' j
                + dβ_ dA j * β' j)).
    - rewrite product_backward, sum_plus. ring.
    - intros j Hj. assert (0 < s j) by (apply sqrt_lt_R0; auto).
      unfold frozen_dγ, frozen_dβ. rewrite <- !sum_scal_r, <- !sum_plus. apply sum_ext. intros i _.
      unfold D, frozen_dZ, frozen_A', frozen_stub. field. lra.
  Qed.
End FrozenLayer.

(* A layer without normalisation: B = Z, and dZ = S. *)
Section Plain.
  Variables (N p q : nat) (t0 : R) (a a' : R -> R).
  Variables (M Γ : nat -> nat -> R -> R) (M' Γ' : nat -> nat -> R).

  Notation M_ := (fun i k => M i k t0).
  Notation Γ_ := (fun k j => Γ k j t0).
  Notation Z i j t := (Z p (fun i k => M i k t) (fun k j => Γ k j t) i j).
  Notation Z' i j := (Z' p t0 M Γ M' Γ' i j).

  Hypothesis HM : forall i k, (i < N)%nat -> (k < p)%nat -> is_derive (M i k) t0 (M' i k).
  Hypothesis HΓ : forall k j, (k < p)%nat -> (j < q)%nat -> is_derive (Γ k j) t0 (Γ' k j).
  Hypothesis Ha : forall i j, (i < N)%nat -> (j < q)%nat -> is_derive a (Z i j t0) (a' (Z i j t0)).

  Definition plain_A' (i j : nat) : R := a' (Z i j t0) * Z' i j.

  Lemma derive_plain_A i j : (i < N)%nat -> (j < q)%nat -> is_derive (fun t => a (Z i j t)) t0 (plain_A' i j).
  Proof.
    intros Hi Hj. apply (derive_through (fun t => Z i j t) (Z' i j) t0); [now apply (derive_Z N p q)|now apply Ha].
  Qed.

  Definition plain_dZ (dA : nat -> nat -> R) (i j : nat) : R := dA i j * a' (Z i j t0).

  Theorem plain_layer_backward (dA : nat -> nat -> R) :
    Σ (i < N) Σ (j < q) dA i j * plain_A' i j
    = (Σ (k < p) Σ (j < q) dΓ N M_ (plain_dZ dA) k j * Γ' k j)
      + Σ (i < N) Σ (k < p) dM q Γ_ (plain_dZ dA) i k * M' i k.
  Proof.
    rewrite <- product_backward. apply sum_ext. intros i _. apply sum_ext. intros j _.
    unfold plain_A', plain_dZ. ring.
  Qed.
End Plain.

(* The head: ŷ = A Γ2, ε̂ = y - ŷ (here e), R = (1/N) Σ ε̂².  A has N rows and q columns. *)
Section Head.
  Variables (N q : nat) (y : nat -> R) (A : nat -> nat -> R) (Γ2 : nat -> R).
  Definition yhat (i : nat) : R := Σ (j < q) A i j * Γ2 j.
  Definition e (i : nat) : R := y i - yhat i.
  Definition Risk : R := (Σ (i < N) e i ^ 2) / INR N.

  (* ∂R/∂A = -(2/N) ε̂ Γ2ᵀ,  ∂R/∂Γ2 = -(2/N) Aᵀ ε̂ *)
  Definition dA (i j : nat) : R := - (2 / INR N) * (e i * Γ2 j).
  Definition dΓ2 (j : nat) : R := - (2 / INR N) * (Σ (i < N) A i j * e i).
End Head.

Section HeadDerivatives.
  Variables (N q : nat) (t0 : R) (y : nat -> R).
  Variables (A : nat -> nat -> R -> R) (Γ2 : nat -> R -> R) (A' : nat -> nat -> R) (Γ2' : nat -> R).
  Hypothesis rows : INR N <> 0.
  Hypothesis HA : forall i j, (i < N)%nat -> (j < q)%nat -> is_derive (A i j) t0 (A' i j).
  Hypothesis HΓ2 : forall j, (j < q)%nat -> is_derive (Γ2 j) t0 (Γ2' j).

  Notation A_ := (fun i j => A i j t0).
  Notation Γ2_ := (fun j => Γ2 j t0).
  Notation e i t := (e q y (fun i j => A i j t) (fun j => Γ2 j t) i).

  Definition e' (i : nat) : R := - Σ (j < q) (A' i j * Γ2 j t0 + A i j t0 * Γ2' j).

  Lemma derive_e i : (i < N)%nat -> is_derive (fun t => e i t) t0 (e' i).
  Proof.
    intros Hi.
    assert (D : is_derive (fun t => yhat q (fun i j => A i j t) (fun j => Γ2 j t) i) t0 (- e' i)).
    { unfold e'. rewrite Ropp_involutive. apply (derive_sum q (fun j t => A i j t * Γ2 j t)).
      intros j Hj. apply derive_times; auto. }
    replace (e' i) with (0 - - e' i) by ring.
    apply (is_derive_minus (K := R_AbsRing) (V := R_NormedModule) (fun _ => y i) _ t0 0 (- e' i)); [|exact D].
    apply (is_derive_const (K := R_AbsRing) (V := R_NormedModule)).
  Qed.

  Theorem head_backward :
    is_derive (fun t => Risk N q y (fun i j => A i j t) (fun j => Γ2 j t)) t0
      ((Σ (i < N) Σ (j < q) dA N q y A_ Γ2_ i j * A' i j) + Σ (j < q) dΓ2 N q y A_ Γ2_ j * Γ2' j).
  Proof.
    assert (E : (Σ (i < N) Σ (j < q) dA N q y A_ Γ2_ i j * A' i j) + (Σ (j < q) dΓ2 N q y A_ Γ2_ j * Γ2' j)
              = (Σ (i < N) 2 * e i t0 * e' i) / INR N).
    { rewrite (sum_ext q (fun j => dΓ2 N q y A_ Γ2_ j * Γ2' j)
        (fun j => Σ (i < N) - (2 / INR N) * (A i j t0 * e i t0) * Γ2' j))
        by (intros; unfold dΓ2; now rewrite <- sum_scal_l, <- sum_scal_r).
      rewrite (sum_swap q N), <- sum_plus, <- sum_div. apply sum_ext. intros i _.
      transitivity (- (2 / INR N) * e i t0 * Σ (j < q) (A' i j * Γ2 j t0 + A i j t0 * Γ2' j));
        [|unfold e'; field; exact rows].
      rewrite <- sum_scal_l, <- sum_plus. apply sum_ext. intros j _. unfold dA. ring. }
    rewrite E. apply (derive_div (fun t => Σ (i < N) e i t ^ 2)).
    apply (derive_sum N (fun i t => e i t ^ 2)). intros i Hi.
    apply (derive_through (fun t => e i t) (e' i) t0 (derive_e i Hi) (fun v => v ^ 2)).
    auto_derive; [easy|]. reals. ring.
  Qed.
End HeadDerivatives.
