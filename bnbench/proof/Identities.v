(* Identities of the gradient, at any size: cheap checks of any implementation.

   Of one network, by the formulas alone:
     Xhat_sums_to_0      (1.1)  Σ_i X̂_ij = 0
     Xhat_squares        (1.2)  Σ_i X̂_ij² = (N - ddof) (s_j² - eps) / s_j²
     dZ_sums_to_0        (8.1)  1ᵀ dZ = 0
     shift_in_product    (8.2)  (X + 1cᵀ)ᵀ dZ = Xᵀ dZ
     radial_gradient     (8.3)  ⟨Γ1_j, ∂Γ1_j⟩ = γ_j ∂γ_j eps / s_j², 0 for eps = 0 (radial_gradient_0)
     dZ_norm                    ‖dZ_j‖² = (γ_j/s_j)² (‖S_j‖² - ∂β_j²/N - (1 + eps/s_j²) ∂γ_j²/(N - ddof)),
                                (γ_j/s_j)² (‖S_j‖² - ∂β_j²/N - ∂γ_j²/N) for eps = 0 and ddof = 0 (dZ_norm_0)
     relu_redundant             γ_j ∂γ_j + β_j ∂β_j = Γ2_j ∂Γ2_j with ReLU
     identity_redundant         ∂β_j/Γ2_j is the same for all j with the identity
     identity_yhat              ŷ = X̂ (Γ2 ⊙ γ) + Σ Γ2 β with the identity

   Of two networks, each from its definition:
     shift_changes_nothing         X + 1cᵀ for X: same R, same gradient of each parameter
     scale_invariance              c_j Γ1_j for Γ1_j with c_j > 0 and eps = 0: same R, ∂Γ1_j divided by c_j
     step_scaled                   a step of η ∂Γ1_j at c_j Γ1_j is then one of (η/c_j²) ∂Γ1_j at Γ1_j
     rows_permuted                 rows in another order: the same
     nodes_permuted                nodes in another order: so are their gradients
     relu_rescaled                 c_j γ_j, c_j β_j and Γ2_j/c_j with ReLU and c_j > 0: same R
     plain_is_frozen               no normalisation is frozen statistics with μ = 0, s = 1, γ = 1, β = 0 *)
From Coq Require Import Reals Lra Lia.
From Coquelicot Require Import Coquelicot.
From bnbench Require Import Sums OneLayer Activations.
Open Scope R_scope.

Section OneNetwork.
  Variables (N p1 p2 : nat) (ddof eps : R) (a a' : R -> R) (X : nat -> nat -> R) (y : nat -> R).
  Variables (Γ1 : nat -> nat -> R) (γ β Γ2 : nat -> R).

  Notation Z := (Z p1 X Γ1).
  Notation μ := (μ N p1 X Γ1).
  Notation variance := (variance N p1 ddof eps X Γ1).
  Notation s := (s N p1 ddof eps X Γ1).
  Notation Xhat := (Xhat N p1 ddof eps X Γ1).
  Notation B := (B N p1 ddof eps X Γ1 γ β).
  Notation A := (A N p1 ddof eps a X Γ1 γ β).
  Notation e := (e N p1 p2 ddof eps a X y Γ1 γ β Γ2).
  Notation S := (stub N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation dβ := (dβ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation dγ := (dγ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation dΓ2 := (dΓ2 N p1 p2 ddof eps a X y Γ1 γ β Γ2).
  Notation dZ := (dZ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation dΓ1 := (dΓ1 N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).

  Hypothesis rows : INR N <> 0.

  (* Deviations from the mean add up to 0. *)
  Lemma deviations_sum_to_0 j : Σ (i < N) (Z i j - μ j) = 0.
  Proof. rewrite sum_minus, sum_const. unfold OneLayer.μ. field. exact rows. Qed.

  Theorem Xhat_sums_to_0 j : Σ (i < N) Xhat i j = 0.
  Proof. unfold OneLayer.Xhat. rewrite sum_div, deviations_sum_to_0. unfold Rdiv. ring. Qed.

  Theorem dZ_sums_to_0 j : Σ (i < N) dZ i j = 0.
  Proof.
    unfold OneLayer.dZ. rewrite sum_scal_l, !sum_minus, sum_const.
    rewrite (sum_ext N (fun i => Xhat i j * dγ j / (INR N - ddof)) (fun i => Xhat i j * (dγ j / (INR N - ddof))))
      by (intros; unfold Rdiv; ring).
    rewrite sum_scal_r, Xhat_sums_to_0. change (Σ (i < N) S i j) with (dβ j).
    replace (INR N * (dβ j / INR N)) with (dβ j) by (field; exact rows). ring.
  Qed.

  Theorem shift_in_product (c : nat -> R) k j : Σ (i < N) (X i k + c k) * dZ i j = Σ (i < N) X i k * dZ i j.
  Proof.
    rewrite (sum_ext N _ (fun i => X i k * dZ i j + c k * dZ i j)) by (intros; ring).
    rewrite sum_plus, sum_scal_l, dZ_sums_to_0. ring.
  Qed.

  Hypothesis divisor : INR N - ddof <> 0.

  (* One node j whose s_j is positive. *)
  Variable j : nat.
  Hypothesis positive : 0 < variance j.

  Lemma s_is_positive : 0 < s j.
  Proof. now apply sqrt_lt_R0. Qed.

  Lemma s_squared : s j ^ 2 = (Σ (i < N) (Z i j - μ j) ^ 2) / (INR N - ddof) + eps.
  Proof. unfold OneLayer.s. rewrite pow2_sqrt by lra. reflexivity. Qed.

  Theorem Xhat_squares : Σ (i < N) Xhat i j ^ 2 = (INR N - ddof) * (s j ^ 2 - eps) / s j ^ 2.
  Proof.
    pose proof s_is_positive as P.
    rewrite (sum_ext N _ (fun i => (Z i j - μ j) ^ 2 / s j ^ 2)) by (intros; unfold OneLayer.Xhat; field; lra).
    rewrite sum_div. replace (s j ^ 2 - eps) with ((Σ (i < N) (Z i j - μ j) ^ 2) / (INR N - ddof))
      by (rewrite s_squared; ring).
    field. repeat split; first [assumption|lra].
  Qed.

  (* Σ X̂ dZ: what the mean takes off is orthogonal to X̂. *)
  Lemma Xhat_times_dZ : Σ (i < N) Xhat i j * dZ i j = γ j / s j * (dγ j * (eps / s j ^ 2)).
  Proof.
    pose proof s_is_positive as P.
    rewrite (sum_ext N _ (fun i => γ j / s j * (S i j * Xhat i j - dβ j / INR N * Xhat i j
      - dγ j / (INR N - ddof) * Xhat i j ^ 2))) by (intros; unfold OneLayer.dZ, Rdiv; ring).
    rewrite sum_scal_l, !sum_minus, !sum_scal_l, Xhat_sums_to_0, Xhat_squares.
    change (Σ (i < N) S i j * Xhat i j) with (dγ j). field. repeat split; first [assumption|lra].
  Qed.

  Theorem radial_gradient : Σ (k < p1) Γ1 k j * dΓ1 k j = γ j * dγ j * eps / s j ^ 2.
  Proof.
    pose proof s_is_positive as P.
    assert (E : Σ (k < p1) Γ1 k j * dΓ1 k j = Σ (i < N) Z i j * dZ i j).
    { unfold OneLayer.dΓ1, OneLayer.Z.
      rewrite (sum_ext p1 _ (fun k => Σ (i < N) X i k * Γ1 k j * dZ i j))
        by (intros; rewrite <- sum_scal_l; apply sum_ext; intros; ring).
      rewrite sum_swap. apply sum_ext. intros. now rewrite sum_scal_r. }
    rewrite E. clear E.
    rewrite (sum_ext N _ (fun i => s j * (Xhat i j * dZ i j) + μ j * dZ i j))
      by (intros; unfold OneLayer.Xhat; field; lra).
    rewrite sum_plus, !sum_scal_l, dZ_sums_to_0, Xhat_times_dZ. field. lra.
  Qed.

  (* For eps = 0 the gradient is orthogonal to the parameter. *)
  Corollary radial_gradient_0 : eps = 0 -> Σ (k < p1) Γ1 k j * dΓ1 k j = 0.
  Proof. intros E. rewrite radial_gradient, E. unfold Rdiv. ring. Qed.

  (* What normalisation takes off the gradient, exactly. *)
  Theorem dZ_norm :
    Σ (i < N) dZ i j ^ 2
    = (γ j / s j) ^ 2 * ((Σ (i < N) S i j ^ 2) - dβ j ^ 2 / INR N
                         - (1 + eps / s j ^ 2) * dγ j ^ 2 / (INR N - ddof)).
  Proof.
    pose proof s_is_positive as P.
    rewrite (sum_ext N _ (fun i => γ j / s j * (γ j / s j * (S i j ^ 2 - dβ j / INR N * S i j
      - dγ j / (INR N - ddof) * (S i j * Xhat i j)) - dβ j / INR N * dZ i j
      - dγ j / (INR N - ddof) * (Xhat i j * dZ i j))))
      by (intros; unfold OneLayer.dZ, Rdiv; ring).
    rewrite sum_scal_l, !sum_minus, !sum_scal_l, !sum_minus, !sum_scal_l, dZ_sums_to_0, Xhat_times_dZ.
    change (Σ (i < N) S i j * Xhat i j) with (dγ j). change (Σ (i < N) S i j) with (dβ j).
    field. repeat split; first [assumption|lra].
  Qed.

  Corollary dZ_norm_0 : eps = 0 -> ddof = 0 ->
    Σ (i < N) dZ i j ^ 2
    = (γ j / s j) ^ 2 * ((Σ (i < N) S i j ^ 2) - dβ j ^ 2 / INR N - dγ j ^ 2 / INR N).
  Proof.
    pose proof s_is_positive as P. intros E D. rewrite dZ_norm. rewrite E, D in P |- *.
    field. repeat split; first [assumption|lra].
  Qed.
End OneNetwork.

(* What is assumed can be: two rows, X = (0, 1)ᵀ, Γ1 = 1, with ddof 0 and eps 0 (and ddof 1: data_exist of OneLayer). *)
Example data_exist_0 : INR 2 - 0 <> 0 /\ 0 < variance 2 1 0 0 (fun i _ => INR i) (fun _ _ => 1) 0.
Proof.
  split; [simpl; lra|]. unfold variance, μ, Z. simpl.
  match goal with |- 0 < ?v => replace v with (1 / 4) by field end. lra.
Qed.

(* γ and β, where the activation makes them redundant. *)
Section Redundant.
  Variables (N p1 p2 : nat) (ddof eps : R) (X : nat -> nat -> R) (y : nat -> R).
  Variables (Γ1 : nat -> nat -> R) (γ β Γ2 : nat -> R).

  Notation Xhat := (Xhat N p1 ddof eps X Γ1).
  Notation B := (B N p1 ddof eps X Γ1 γ β).
  Notation yhat a := (yhat N p1 p2 ddof eps a X Γ1 γ β Γ2).
  Notation e a := (e N p1 p2 ddof eps a X y Γ1 γ β Γ2).
  Notation dβ a a' := (dβ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation dγ a a' := (dγ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2).
  Notation dΓ2 a := (dΓ2 N p1 p2 ddof eps a X y Γ1 γ β Γ2).

  (* An activation with a'(v) v = a(v) at every B_ij, as those that are homogeneous of degree 1 have it. *)
  Theorem homogeneous_redundant a a' j : (forall i, (i < N)%nat -> a' (B i j) * B i j = a (B i j)) ->
    γ j * dγ a a' j + β j * dβ a a' j = Γ2 j * dΓ2 a j.
  Proof.
    intros H. unfold OneLayer.dγ, OneLayer.dβ, OneLayer.dΓ2.
    rewrite <- !sum_scal_l, <- sum_plus. apply sum_ext. intros i Hi.
    transitivity (stub N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 i j * B i j); [unfold OneLayer.B; ring|].
    unfold stub, A. rewrite <- H by exact Hi. ring.
  Qed.

  (* The formulas have it at the kink too, with a'(0) = 0; they are the gradient where no B_ij is 0. *)
  Corollary relu_redundant j : γ j * dγ relu relu' j + β j * dβ relu relu' j = Γ2 j * dΓ2 relu j.
  Proof.
    apply homogeneous_redundant. intros i _. unfold relu'. destruct (Rlt_dec 0 (B i j)) as [P|P].
    - rewrite relu_positive by lra. ring.
    - rewrite relu_negative by lra. ring.
  Qed.

  (* With the identity ∂β_j is Γ2_j times a number that no node has for itself: -(2/N) Σ ε̂. *)
  Theorem identity_dβ j : dβ identity identity' j = Γ2 j * (- (2 / INR N) * (Σ (i < N) e identity i)).
  Proof.
    unfold OneLayer.dβ. rewrite <- !sum_scal_l. apply sum_ext. intros. unfold stub, identity'. ring.
  Qed.

  Corollary identity_redundant j l : Γ2 j <> 0 -> Γ2 l <> 0 ->
    dβ identity identity' j / Γ2 j = dβ identity identity' l / Γ2 l.
  Proof. intros Hj Hl. rewrite !identity_dβ. generalize (- (2 / INR N)). intros. field. now split. Qed.

  (* What the network with the identity puts out depends on Γ2 ⊙ γ and on one number Σ Γ2 β: γ and β add nothing to a
     linear map and its intercept. *)
  Theorem identity_yhat i :
    yhat identity i = (Σ (j < p2) Xhat i j * (Γ2 j * γ j)) + Σ (j < p2) Γ2 j * β j.
  Proof. unfold OneLayer.yhat. rewrite <- sum_plus. apply sum_ext. intros. unfold A, identity, OneLayer.B. ring. Qed.
End Redundant.

(* The scale of (γ_j, β_j) is redundant with ReLU: Γ2_j undoes it. *)
Theorem relu_rescaled N p1 p2 ddof eps X y Γ1 γ β Γ2 c : (forall j, (j < p2)%nat -> 0 < c j) ->
  Risk N p1 p2 ddof eps relu X y Γ1 (fun j => c j * γ j) (fun j => c j * β j) (fun j => Γ2 j / c j)
  = Risk N p1 p2 ddof eps relu X y Γ1 γ β Γ2.
Proof.
  intros H. unfold Risk. apply (f_equal (fun v => v / INR N)). apply sum_ext. intros i _.
  apply (f_equal (fun v => (y i - v) ^ 2)). unfold yhat. apply sum_ext. intros j Hj.
  assert (P : 0 < c j) by auto. unfold A.
  replace (B N p1 ddof eps X Γ1 (fun j => c j * γ j) (fun j => c j * β j) i j)
    with (c j * B N p1 ddof eps X Γ1 γ β i j) by (unfold B; ring).
  set (b := B N p1 ddof eps X Γ1 γ β i j). destruct (Rle_dec 0 b) as [Q|Q].
  - rewrite !relu_positive; [field; lra|exact Q|]. apply Rmult_le_pos; lra.
  - assert (R1 : c j * b <= c j * 0) by (apply Rmult_le_compat_l; lra).
    rewrite !relu_negative; lra.
Qed.

(* Two networks with the same X̂, and the same γ, β and Γ2: all that comes after X̂ is the same. *)
Section SameXhat.
  Variables (N p1 p2 : nat) (ddof eps : R) (a a' : R -> R) (y : nat -> R) (γ β Γ2 : nat -> R).
  Variables (X1 X2 G1 G2 : nat -> nat -> R).
  Hypothesis same : forall i j, (i < N)%nat -> (j < p2)%nat ->
    Xhat N p1 ddof eps X1 G1 i j = Xhat N p1 ddof eps X2 G2 i j.

  Lemma same_e i : (i < N)%nat ->
    e N p1 p2 ddof eps a X1 y G1 γ β Γ2 i = e N p1 p2 ddof eps a X2 y G2 γ β Γ2 i.
  Proof.
    intros Hi. unfold e. f_equal. unfold yhat. apply sum_ext. intros j Hj. unfold A, B. now rewrite same.
  Qed.

  Lemma same_Risk : Risk N p1 p2 ddof eps a X1 y G1 γ β Γ2 = Risk N p1 p2 ddof eps a X2 y G2 γ β Γ2.
  Proof. unfold Risk. f_equal. apply sum_ext. intros i Hi. now rewrite same_e. Qed.

  Lemma same_stub i j : (i < N)%nat -> (j < p2)%nat ->
    stub N p1 p2 ddof eps a a' X1 y G1 γ β Γ2 i j = stub N p1 p2 ddof eps a a' X2 y G2 γ β Γ2 i j.
  Proof. intros Hi Hj. unfold stub, B. now rewrite same_e, same. Qed.

  Lemma same_dβ j : (j < p2)%nat ->
    dβ N p1 p2 ddof eps a a' X1 y G1 γ β Γ2 j = dβ N p1 p2 ddof eps a a' X2 y G2 γ β Γ2 j.
  Proof. intros Hj. unfold dβ. apply sum_ext. intros i Hi. now apply same_stub. Qed.

  Lemma same_dγ j : (j < p2)%nat ->
    dγ N p1 p2 ddof eps a a' X1 y G1 γ β Γ2 j = dγ N p1 p2 ddof eps a a' X2 y G2 γ β Γ2 j.
  Proof. intros Hj. unfold dγ. apply sum_ext. intros i Hi. now rewrite same_stub, same. Qed.

  Lemma same_dΓ2 j : (j < p2)%nat ->
    dΓ2 N p1 p2 ddof eps a X1 y G1 γ β Γ2 j = dΓ2 N p1 p2 ddof eps a X2 y G2 γ β Γ2 j.
  Proof.
    intros Hj. unfold dΓ2. f_equal. apply sum_ext. intros i Hi. unfold A, B. now rewrite same_e, same.
  Qed.

  (* dZ is the same but for s: s dZ is. *)
  Lemma same_dZ i j : (i < N)%nat -> (j < p2)%nat ->
    0 < s N p1 ddof eps X1 G1 j -> 0 < s N p1 ddof eps X2 G2 j ->
    s N p1 ddof eps X1 G1 j * dZ N p1 p2 ddof eps a a' X1 y G1 γ β Γ2 i j
    = s N p1 ddof eps X2 G2 j * dZ N p1 p2 ddof eps a a' X2 y G2 γ β Γ2 i j.
  Proof.
    intros Hi Hj P1 P2. unfold dZ. rewrite same_stub, same_dβ, same_dγ, same by assumption.
    unfold Rdiv. rewrite <- !Rmult_assoc, !Rinv_r_simpl_m by lra. reflexivity.
  Qed.
End SameXhat.

(* X + 1cᵀ for X. *)
Section Shift.
  Variables (N p1 p2 : nat) (ddof eps : R) (a a' : R -> R) (X : nat -> nat -> R) (y : nat -> R).
  Variables (Γ1 : nat -> nat -> R) (γ β Γ2 c : nat -> R).
  Notation Xc := (fun i k => X i k + c k).
  Hypothesis rows : INR N <> 0.

  Lemma shifted_deviation i j : Z p1 Xc Γ1 i j - μ N p1 Xc Γ1 j = Z p1 X Γ1 i j - μ N p1 X Γ1 j.
  Proof.
    assert (E : forall l, Z p1 Xc Γ1 l j = Z p1 X Γ1 l j + Σ (k < p1) c k * Γ1 k j)
      by (intros; unfold Z; rewrite <- sum_plus; apply sum_ext; intros; ring).
    unfold μ. rewrite E, (sum_ext N _ _ (fun l _ => E l)), sum_plus, sum_const. field. exact rows.
  Qed.

  Lemma shifted_s j : s N p1 ddof eps Xc Γ1 j = s N p1 ddof eps X Γ1 j.
  Proof.
    unfold s, variance. do 3 f_equal. apply sum_ext. intros i _. now rewrite shifted_deviation.
  Qed.

  Lemma shifted_Xhat i j : Xhat N p1 ddof eps Xc Γ1 i j = Xhat N p1 ddof eps X Γ1 i j.
  Proof. unfold Xhat. now rewrite shifted_deviation, shifted_s. Qed.

  Theorem shift_changes_nothing :
    Risk N p1 p2 ddof eps a Xc y Γ1 γ β Γ2 = Risk N p1 p2 ddof eps a X y Γ1 γ β Γ2 /\
    (forall k j, (j < p2)%nat ->
     dΓ1 N p1 p2 ddof eps a a' Xc y Γ1 γ β Γ2 k j = dΓ1 N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 k j) /\
    (forall j, (j < p2)%nat ->
     dγ N p1 p2 ddof eps a a' Xc y Γ1 γ β Γ2 j = dγ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 j /\
     dβ N p1 p2 ddof eps a a' Xc y Γ1 γ β Γ2 j = dβ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 j /\
     dΓ2 N p1 p2 ddof eps a Xc y Γ1 γ β Γ2 j = dΓ2 N p1 p2 ddof eps a X y Γ1 γ β Γ2 j).
  Proof.
    pose proof (fun i j (_ : (i < N)%nat) (_ : (j < p2)%nat) => shifted_Xhat i j) as same.
    split; [|split]; [now apply same_Risk| |].
    - intros k j Hj. unfold dΓ1. rewrite <- (shift_in_product N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 rows c).
      apply sum_ext. intros i Hi. apply f_equal. unfold dZ.
      rewrite shifted_s, shifted_Xhat.
      rewrite (same_stub N p1 p2 ddof eps a a' y γ β Γ2 Xc X Γ1 Γ1 same) by assumption.
      rewrite (same_dβ N p1 p2 ddof eps a a' y γ β Γ2 Xc X Γ1 Γ1 same) by assumption.
      rewrite (same_dγ N p1 p2 ddof eps a a' y γ β Γ2 Xc X Γ1 Γ1 same) by assumption. reflexivity.
    - intros j Hj. split; [|split]; [apply same_dγ|apply same_dβ|apply same_dΓ2]; assumption.
  Qed.
End Shift.

(* c_j Γ1_j for Γ1_j, with c_j > 0 and eps = 0. *)
Section Scale.
  Variables (N p1 p2 : nat) (ddof : R) (a a' : R -> R) (X : nat -> nat -> R) (y : nat -> R).
  Variables (Γ1 : nat -> nat -> R) (γ β Γ2 c : nat -> R).
  Notation cΓ1 := (fun k j => c j * Γ1 k j).
  Hypothesis factor : forall j, (j < p2)%nat -> 0 < c j.
  Hypothesis positive : forall j, (j < p2)%nat -> 0 < variance N p1 ddof 0 X Γ1 j.

  Lemma scaled_deviation i j : Z p1 X cΓ1 i j - μ N p1 X cΓ1 j = c j * (Z p1 X Γ1 i j - μ N p1 X Γ1 j).
  Proof.
    assert (E : forall l, Z p1 X cΓ1 l j = c j * Z p1 X Γ1 l j)
      by (intros; unfold Z; rewrite <- sum_scal_l; apply sum_ext; intros; ring).
    unfold μ. rewrite E, (sum_ext N _ _ (fun l _ => E l)), sum_scal_l. unfold Rdiv. ring.
  Qed.

  Lemma scaled_s j : (j < p2)%nat -> s N p1 ddof 0 X cΓ1 j = c j * s N p1 ddof 0 X Γ1 j.
  Proof.
    intros Hj. assert (P : 0 < c j) by auto. unfold s.
    replace (variance N p1 ddof 0 X cΓ1 j) with (c j ^ 2 * variance N p1 ddof 0 X Γ1 j).
    - assert (0 < variance N p1 ddof 0 X Γ1 j) by auto.
      rewrite sqrt_mult, sqrt_pow2; [reflexivity| | |]; try lra. apply pow2_ge_0.
    - unfold variance. rewrite (sum_ext N (fun i => (Z p1 X cΓ1 i j - μ N p1 X cΓ1 j) ^ 2)
        (fun i => c j ^ 2 * (Z p1 X Γ1 i j - μ N p1 X Γ1 j) ^ 2)) by (intros; rewrite scaled_deviation; ring).
      rewrite sum_scal_l. unfold Rdiv. ring.
  Qed.

  Lemma scaled_Xhat i j : (j < p2)%nat -> Xhat N p1 ddof 0 X cΓ1 i j = Xhat N p1 ddof 0 X Γ1 i j.
  Proof.
    intros Hj. assert (0 < c j) by auto. assert (0 < s N p1 ddof 0 X Γ1 j) by (apply sqrt_lt_R0; auto).
    unfold Xhat. rewrite scaled_deviation, scaled_s by exact Hj. field. lra.
  Qed.

  Theorem scale_invariance :
    Risk N p1 p2 ddof 0 a X y cΓ1 γ β Γ2 = Risk N p1 p2 ddof 0 a X y Γ1 γ β Γ2 /\
    (forall k j, (j < p2)%nat ->
     dΓ1 N p1 p2 ddof 0 a a' X y cΓ1 γ β Γ2 k j = 1 / c j * dΓ1 N p1 p2 ddof 0 a a' X y Γ1 γ β Γ2 k j) /\
    (forall j, (j < p2)%nat ->
     dγ N p1 p2 ddof 0 a a' X y cΓ1 γ β Γ2 j = dγ N p1 p2 ddof 0 a a' X y Γ1 γ β Γ2 j /\
     dβ N p1 p2 ddof 0 a a' X y cΓ1 γ β Γ2 j = dβ N p1 p2 ddof 0 a a' X y Γ1 γ β Γ2 j /\
     dΓ2 N p1 p2 ddof 0 a X y cΓ1 γ β Γ2 j = dΓ2 N p1 p2 ddof 0 a X y Γ1 γ β Γ2 j).
  Proof.
    pose proof (fun i j (_ : (i < N)%nat) => scaled_Xhat i j) as same.
    split; [|split]; [now apply same_Risk| |].
    - intros k j Hj. assert (P : 0 < c j) by auto.
      assert (Q : 0 < s N p1 ddof 0 X Γ1 j) by (apply sqrt_lt_R0; auto).
      unfold dΓ1. rewrite <- sum_scal_l. apply sum_ext. intros i Hi.
      assert (E : s N p1 ddof 0 X cΓ1 j * dZ N p1 p2 ddof 0 a a' X y cΓ1 γ β Γ2 i j
                = s N p1 ddof 0 X Γ1 j * dZ N p1 p2 ddof 0 a a' X y Γ1 γ β Γ2 i j).
      { apply same_dZ; auto. rewrite scaled_s by exact Hj. now apply Rmult_lt_0_compat. }
      rewrite scaled_s in E by exact Hj.
      replace (dZ N p1 p2 ddof 0 a a' X y Γ1 γ β Γ2 i j)
        with (c j * dZ N p1 p2 ddof 0 a a' X y cΓ1 γ β Γ2 i j); [field; lra|].
      apply (Rmult_eq_reg_l (s N p1 ddof 0 X Γ1 j)); [rewrite <- E; ring|lra].
    - intros j Hj. split; [|split]; [apply same_dγ|apply same_dβ|apply same_dΓ2]; assumption.
  Qed.
  (* A step down the gradient at c Γ1 is c times a step at Γ1 that is c² times shorter. *)
  Corollary step_scaled η k j : (j < p2)%nat ->
    c j * Γ1 k j - η * dΓ1 N p1 p2 ddof 0 a a' X y cΓ1 γ β Γ2 k j
    = c j * (Γ1 k j - η / c j ^ 2 * dΓ1 N p1 p2 ddof 0 a a' X y Γ1 γ β Γ2 k j).
  Proof.
    intros Hj. assert (0 < c j) by auto. destruct scale_invariance as (_ & E & _). rewrite E by exact Hj. field. lra.
  Qed.
End Scale.

(* A permutation π of the indices below N, and ρ that undoes it. *)
Definition permutation (N : nat) (π ρ : nat -> nat) : Prop :=
  forall i, (i < N)%nat -> (π i < N)%nat /\ (ρ i < N)%nat /\ ρ (π i) = i /\ π (ρ i) = i.

Example permutation_exists : permutation 2 (fun i => 1 - i)%nat (fun i => 1 - i)%nat.
Proof. intros i Hi. lia. Qed.

Lemma sum_permuted N π ρ u : permutation N π ρ -> Σ (i < N) u (π i) = sum N u.
Proof.
  intros H.
  rewrite (sum_ext N _ (fun i => Σ (l < N) δ l (π i) * u l)) by (intros; symmetry; apply sum_δ; now apply H).
  rewrite sum_swap. apply sum_ext. intros l Hl. destruct (H l Hl) as (_ & Hρ & _ & E).
  rewrite sum_scal_r. transitivity (1 * u l); [apply (f_equal (fun v => v * u l))|ring].
  rewrite (sum_ext N _ (fun i => δ i (ρ l) * 1)); [now apply (sum_δ N (fun _ => 1))|].
  intros i Hi. rewrite Rmult_1_r. destruct (H i Hi) as (_ & _ & F & _).
  destruct (Nat.eq_dec i (ρ l)) as [->|D]; [now rewrite E, !δ_same|].
  rewrite !δ_other; [reflexivity|exact D|]. intros ->. now rewrite F in D.
Qed.

Lemma sum_reordered N π ρ u v : permutation N π ρ ->
  (forall i, (i < N)%nat -> u i = v (π i)) -> sum N u = sum N v.
Proof. intros H E. rewrite <- (sum_permuted N π ρ v H). now apply sum_ext. Qed.

(* Rows in another order. *)
Section Rows.
  Variables (N p1 p2 : nat) (ddof eps : R) (a a' : R -> R) (X : nat -> nat -> R) (y : nat -> R).
  Variables (Γ1 : nat -> nat -> R) (γ β Γ2 : nat -> R) (π ρ : nat -> nat).
  Hypothesis order : permutation N π ρ.
  Notation Xπ := (fun i k => X (π i) k).
  Notation yπ := (fun i => y (π i)).

  Lemma permuted_μ j : μ N p1 Xπ Γ1 j = μ N p1 X Γ1 j.
  Proof. unfold μ. f_equal. apply (sum_permuted N π ρ (fun i => Z p1 X Γ1 i j) order). Qed.

  Lemma permuted_s j : s N p1 ddof eps Xπ Γ1 j = s N p1 ddof eps X Γ1 j.
  Proof.
    unfold s, variance. rewrite permuted_μ. do 3 f_equal.
    apply (sum_permuted N π ρ (fun i => (Z p1 X Γ1 i j - μ N p1 X Γ1 j) ^ 2) order).
  Qed.

  Lemma permuted_Xhat i j : Xhat N p1 ddof eps Xπ Γ1 i j = Xhat N p1 ddof eps X Γ1 (π i) j.
  Proof. unfold Xhat. now rewrite permuted_μ, permuted_s. Qed.

  Lemma permuted_e i :
    e N p1 p2 ddof eps a Xπ yπ Γ1 γ β Γ2 i = e N p1 p2 ddof eps a X y Γ1 γ β Γ2 (π i).
  Proof. unfold e. f_equal. unfold yhat. apply sum_ext. intros. unfold A, B. now rewrite permuted_Xhat. Qed.

  Lemma permuted_stub i j :
    stub N p1 p2 ddof eps a a' Xπ yπ Γ1 γ β Γ2 i j = stub N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 (π i) j.
  Proof. unfold stub, B. now rewrite permuted_e, permuted_Xhat. Qed.

  Lemma permuted_dβ j : dβ N p1 p2 ddof eps a a' Xπ yπ Γ1 γ β Γ2 j = dβ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 j.
  Proof.
    unfold dβ. apply (sum_reordered N π ρ); [exact order|]. intros. apply permuted_stub.
  Qed.

  Lemma permuted_dγ j : dγ N p1 p2 ddof eps a a' Xπ yπ Γ1 γ β Γ2 j = dγ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 j.
  Proof.
    unfold dγ. apply (sum_reordered N π ρ); [exact order|]. intros.
    now rewrite permuted_stub, permuted_Xhat.
  Qed.

  Lemma permuted_dZ i j :
    dZ N p1 p2 ddof eps a a' Xπ yπ Γ1 γ β Γ2 i j = dZ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 (π i) j.
  Proof. unfold dZ. now rewrite permuted_s, permuted_stub, permuted_dβ, permuted_dγ, permuted_Xhat. Qed.

  Theorem rows_permuted :
    Risk N p1 p2 ddof eps a Xπ yπ Γ1 γ β Γ2 = Risk N p1 p2 ddof eps a X y Γ1 γ β Γ2 /\
    (forall k j, dΓ1 N p1 p2 ddof eps a a' Xπ yπ Γ1 γ β Γ2 k j = dΓ1 N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 k j) /\
    (forall j, dγ N p1 p2 ddof eps a a' Xπ yπ Γ1 γ β Γ2 j = dγ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 j) /\
    (forall j, dβ N p1 p2 ddof eps a a' Xπ yπ Γ1 γ β Γ2 j = dβ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 j) /\
    (forall j, dΓ2 N p1 p2 ddof eps a Xπ yπ Γ1 γ β Γ2 j = dΓ2 N p1 p2 ddof eps a X y Γ1 γ β Γ2 j) /\
    (forall i k, dX N p1 p2 ddof eps a a' Xπ yπ Γ1 γ β Γ2 i k = dX N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 (π i) k).
  Proof.
    repeat split; intros.
    - unfold Risk. f_equal. apply (sum_reordered N π ρ); [exact order|]. intros. now rewrite permuted_e.
    - unfold dΓ1. apply (sum_reordered N π ρ); [exact order|]. intros. now rewrite permuted_dZ.
    - apply permuted_dγ.
    - apply permuted_dβ.
    - unfold dΓ2. f_equal. apply (sum_reordered N π ρ); [exact order|]. intros.
      unfold A, B. now rewrite permuted_e, permuted_Xhat.
    - unfold dX. apply sum_ext. intros. now rewrite permuted_dZ.
  Qed.
End Rows.

(* Nodes in another order: so are their gradients. *)
Section Nodes.
  Variables (N p1 p2 : nat) (ddof eps : R) (a a' : R -> R) (X : nat -> nat -> R) (y : nat -> R).
  Variables (Γ1 : nat -> nat -> R) (γ β Γ2 : nat -> R) (π ρ : nat -> nat).
  Hypothesis order : permutation p2 π ρ.
  Notation Γ1π := (fun k j => Γ1 k (π j)).
  Notation γπ := (fun j => γ (π j)).
  Notation βπ := (fun j => β (π j)).
  Notation Γ2π := (fun j => Γ2 (π j)).

  Lemma nodes_e i : e N p1 p2 ddof eps a X y Γ1π γπ βπ Γ2π i = e N p1 p2 ddof eps a X y Γ1 γ β Γ2 i.
  Proof.
    unfold e. f_equal. apply (sum_permuted p2 π ρ (fun j => A N p1 ddof eps a X Γ1 γ β i j * Γ2 j) order).
  Qed.

  Lemma nodes_stub i j :
    stub N p1 p2 ddof eps a a' X y Γ1π γπ βπ Γ2π i j = stub N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 i (π j).
  Proof. unfold stub. now rewrite nodes_e. Qed.

  Lemma nodes_dβ j :
    dβ N p1 p2 ddof eps a a' X y Γ1π γπ βπ Γ2π j = dβ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 (π j).
  Proof. unfold dβ. apply sum_ext. intros. apply nodes_stub. Qed.

  Lemma nodes_dγ j :
    dγ N p1 p2 ddof eps a a' X y Γ1π γπ βπ Γ2π j = dγ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 (π j).
  Proof. unfold dγ. apply sum_ext. intros. now rewrite nodes_stub. Qed.

  Lemma nodes_dZ i j :
    dZ N p1 p2 ddof eps a a' X y Γ1π γπ βπ Γ2π i j = dZ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 i (π j).
  Proof. unfold dZ. now rewrite nodes_stub, nodes_dβ, nodes_dγ. Qed.

  Theorem nodes_permuted :
    Risk N p1 p2 ddof eps a X y Γ1π γπ βπ Γ2π = Risk N p1 p2 ddof eps a X y Γ1 γ β Γ2 /\
    (forall k j, dΓ1 N p1 p2 ddof eps a a' X y Γ1π γπ βπ Γ2π k j = dΓ1 N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 k (π j)) /\
    (forall j, dγ N p1 p2 ddof eps a a' X y Γ1π γπ βπ Γ2π j = dγ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 (π j)) /\
    (forall j, dβ N p1 p2 ddof eps a a' X y Γ1π γπ βπ Γ2π j = dβ N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 (π j)) /\
    (forall j, dΓ2 N p1 p2 ddof eps a X y Γ1π γπ βπ Γ2π j = dΓ2 N p1 p2 ddof eps a X y Γ1 γ β Γ2 (π j)) /\
    (forall i k, dX N p1 p2 ddof eps a a' X y Γ1π γπ βπ Γ2π i k = dX N p1 p2 ddof eps a a' X y Γ1 γ β Γ2 i k).
  Proof.
    repeat split; intros.
    - unfold Risk. f_equal. apply sum_ext. intros. now rewrite nodes_e.
    - unfold dΓ1. apply sum_ext. intros. now rewrite nodes_dZ.
    - apply nodes_dγ.
    - apply nodes_dβ.
    - unfold dΓ2. f_equal. apply sum_ext. intros. now rewrite nodes_e.
    - unfold dX. apply (sum_reordered p2 π ρ); [exact order|]. intros. now rewrite nodes_dZ.
  Qed.
End Nodes.

(* No normalisation is frozen statistics with μ = 0, s = 1, γ = 1, β = 0. *)
Section PlainIsFrozen.
  Variables (N p1 p2 : nat) (a a' : R -> R) (X : nat -> nat -> R) (y : nat -> R) (Γ1 : nat -> nat -> R) (Γ2 : nat -> R).
  Notation zero := (fun _ : nat => 0).
  Notation one := (fun _ : nat => 1).

  Lemma plain_s j : Frozen.s 0 one j = 1.
  Proof. unfold Frozen.s. rewrite Rplus_0_r. apply sqrt_1. Qed.

  Lemma plain_B i j : Frozen.B p1 0 zero one X Γ1 one zero i j = Z p1 X Γ1 i j.
  Proof. unfold Frozen.B, Frozen.Xhat. rewrite plain_s. field. Qed.

  Lemma plain_e i : Frozen.e p1 p2 0 zero one a X y Γ1 one zero Γ2 i = Plain.e p1 p2 a X y Γ1 Γ2 i.
  Proof.
    unfold Frozen.e, Plain.e. f_equal. apply sum_ext. intros. unfold Frozen.A. now rewrite plain_B.
  Qed.

  Theorem plain_is_frozen :
    Frozen.Risk N p1 p2 0 zero one a X y Γ1 one zero Γ2 = Plain.Risk N p1 p2 a X y Γ1 Γ2 /\
    (forall k j, Frozen.dΓ1 N p1 p2 0 zero one a a' X y Γ1 one zero Γ2 k j = Plain.dΓ1 N p1 p2 a a' X y Γ1 Γ2 k j) /\
    (forall j, Frozen.dΓ2 N p1 p2 0 zero one a X y Γ1 one zero Γ2 j = Plain.dΓ2 N p1 p2 a X y Γ1 Γ2 j).
  Proof.
    repeat split; intros.
    - unfold Frozen.Risk, Plain.Risk. f_equal. apply sum_ext. intros. now rewrite plain_e.
    - unfold Frozen.dΓ1, Plain.dΓ1. apply sum_ext. intros i _. f_equal.
      unfold Frozen.dZ, Frozen.stub, Plain.stub. rewrite plain_s, plain_e, plain_B. unfold Rdiv. rewrite Rinv_1. ring.
    - unfold Frozen.dΓ2, Plain.dΓ2. f_equal. apply sum_ext. intros.
      unfold Frozen.A. now rewrite plain_e, plain_B.
  Qed.
End PlainIsFrozen.
