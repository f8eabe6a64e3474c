(* The figures that the question prints, at its own data: none of them is the gradient.

   Its data are read off a run of its code in R: X whole numbers, Γ1, Γ2 and the residuals u with 17 digits, γ = 2 to 5,
   β = -γ, ten rows, seven inputs, four nodes, ReLU, ddof 1, eps 0; y is ŷ + u, so that ε̂ = u.  In whole numbers, with
   U = 10¹⁸ for the digits, d = 10 (Z - 1μᵀ) U and W = Σ d² for each column,

     X̂ = 3 d/√W      B > 0 exactly where d > 0 and 9 d² > W      Q = q/U², with q = -2 u Γ2 where B > 0 and 0 elsewhere
     ∂β = Σ q/U²     ∂γ = 3 Σ q d / (U² √W)     ∂Γ1 = 3 γ (10 W Xᵀq - W Xᵀ1 Σ q - 10 Xᵀd Σ q d) / (U W √W)

   so that what has to be computed is computed in whole numbers, and √W lies between two of them.

   question_gradient_β, ..._γ, ..._Γ1        the gradient of the loss Σ ε̂² at the question's data is that,
   printed_β_are_not_the_gradient, ..._γ_..., ..._Γ1_...    each printed number is more than 1/10 off,
   printed_β_are_what_the_code_computes, ..._γ_..., ..._Γ1_...    and is what the question's code computes. *)
From Coq Require Import Reals Lra Lia ZArith List.
From Coquelicot Require Import Coquelicot.
From bnbench Require Import Sums Layer Dense OneLayer Activations Matrix Kronecker Forms Claims.
Import ListNotations.

Definition int := BinNums.Z.
Open Scope Z_scope.

(* X, then 10¹⁸ Γ1, 10¹⁸ Γ2 and 10¹⁸ u *)
Definition X_ : list (list int) := [
  [3; 3; 1; -4; 3; 4; 2];
  [-3; 3; -3; -5; 0; 1; 0];
  [2; 0; -4; 2; 0; 1; -3];
  [-4; -1; 0; -4; -3; 0; 2];
  [-3; 3; 4; -1; -3; 5; -4];
  [-4; 1; 1; 1; 1; 0; 4];
  [-3; 2; 5; 5; 1; 2; 1];
  [-4; -1; 2; 0; -4; 1; 1];
  [1; -2; -1; 0; -5; -3; -2];
  [4; 5; -1; -3; 1; -2; 0]].
Definition G1_ : list (list int) := [
  [-626453810742332420; 738324705129217330; 1124930918143108200; 782136300731067100];
  [183643324222082240; 575781351653492310; -44933609015230851; 74564983365190601];
  [-835628612410047160; -305388387156356020; -16190263098946087; -1989351695863372800];
  [1595280802137791600; 1511781168450848000; 943836210685299220; 619825747894710230];
  [329507771815360510; 389843236411431090; 821221195098088550; -56128739529000785];
  [-820468384118015260; -621240580541803760; 593901321217508830; -155795506705329300];
  [487429052428485280; -2214699887177499900; 918977371608218240; -1470752383899274400]].
Definition G2_ : list int := [
  -478150055108620350; 417941560199702410; 1358679551529044000; -102787727342995520].
Definition u_ : list int := [
  387671611559369130; -53805040582905118; -1377059556828606600; -414994563299679760; -394289953710349310;
  -59313396711185663; 1100025371983883100; 763175748457544210; -164523596253586900; -253361680136507560].

(* What the question prints for ∂R/∂β, ∂R/∂γ and ∂R/∂Γ1, times 10⁸ *)
Definition printed_dβ_ : list int := [
  -44609015; 38991862; 126758024; -9589582].
Definition printed_dγ_ : list int := [
  85805740; 596078700; -1176784860; -460259960].
Definition printed_dΓ1_ : list (list int) := [
  [-6153187700; 12266157000; 36008132000; -5166621500];
  [704776700; -1404947000; -4124316000; 591776900];
  [12415767800; -24750384000; -72656422000; 10425096100];
  [4415168200; -8801478000; -25837333000; 3707265900];
  [2247808200; -4480924000; -13154056000; 1887407800];
  [2209885700; -4405327000; -12932135000; 1855565500];
  [7961734500; -15871430000; -46591653000; 6685196500]].

Definition entry (M : list (list int)) (i k : nat) : int := nth k (nth i M []) 0.

Fixpoint zsum (n : nat) (f : nat -> int) : int := match n with O => 0 | S m => zsum m f + f m end.

Definition U : int := 10 ^ 18.
Definition γz (j : nat) : int := Z.of_nat j + 2.
Definition zz (i j : nat) : int := zsum 7 (fun k => entry X_ i k * entry G1_ k j).
Definition d_ : list (list int) := Eval vm_compute in
  map (fun i => map (fun j => 10 * zz i j - zsum 10 (fun l => zz l j)) (seq 0 4)) (seq 0 10).
Definition dz (i j : nat) : int := entry d_ i j.
Definition W_ : list int := Eval vm_compute in map (fun j => zsum 10 (fun i => dz i j ^ 2)) (seq 0 4).
Definition Wz (j : nat) : int := nth j W_ 0.
Definition active (i j : nat) : bool := (0 <? dz i j) && (Wz j <? 9 * dz i j ^ 2).
Definition qz (i j : nat) : int := if active i j then -2 * nth i u_ 0 * nth j G2_ 0 else 0.
Definition sqz (j : nat) : int := zsum 10 (fun i => qz i j).
Definition sqdz (j : nat) : int := zsum 10 (fun i => qz i j * dz i j).
Definition hz (k j : nat) : int :=
  3 * γz j * (10 * Wz j * zsum 10 (fun i => entry X_ i k * qz i j) - Wz j * zsum 10 (fun i => entry X_ i k) * sqz j
    - 10 * zsum 10 (fun i => entry X_ i k * dz i j) * sqdz j).

(* The same with the slopes of the question's code, which are all 1, and with its w = γ s in place of γ/s:
   ∂β = Σ q/U², ∂γ = 3 γ Σ q d / (U² √W), ∂Γ1 = γ W Xᵀq / (30 U³ √W). *)
Definition code_qz (i j : nat) : int := -2 * nth i u_ 0 * nth j G2_ 0.
Definition code_hz (k j : nat) : int := γz j * Wz j * zsum 10 (fun i => entry X_ i k * code_qz i j).

(* T/(M √W) and p/10⁸ are more than 1/10 apart: with r = ⌊√W⌋, √W lies between r and r + 1. *)
Definition P : int := 10 ^ 8.
Definition apart (T M W p : int) : bool :=
  let r := Z.sqrt W in
  let low := 10 * p - P in
  let high := 10 * p + P in
  (10 * T * P <? Z.min (low * M * r) (low * M * (r + 1))) ||
  (Z.max (high * M * r) (high * M * (r + 1)) <? 10 * T * P).

(* T/(M √W) and p/10⁸ are less than 10⁻⁵ apart. *)
Definition near (T M W p : int) : bool :=
  let r := Z.sqrt W in
  let low := 10 ^ 5 * p - P in
  let high := 10 ^ 5 * p + P in
  (Z.max (low * M * r) (low * M * (r + 1)) <? 10 ^ 5 * T * P) &&
  (10 ^ 5 * T * P <? Z.min (high * M * r) (high * M * (r + 1))).

Definition forall_upto (n : nat) (b : nat -> bool) : bool := forallb b (seq 0 n).

Lemma forall_upto_true n b : forall_upto n b = true -> forall i, (i < n)%nat -> b i = true.
Proof. intros H i Hi. apply (proj1 (forallb_forall b (seq 0 n)) H). apply in_seq. lia. Qed.

(* What is computed. *)
Lemma dz_computed : forall i j, (i < 10)%nat -> (j < 4)%nat -> dz i j = 10 * zz i j - zsum 10 (fun l => zz l j).
Proof.
  intros i j Hi Hj.
  assert (H : forall_upto 10 (fun i => forall_upto 4 (fun j =>
    dz i j =? 10 * zz i j - zsum 10 (fun l => zz l j))) = true) by (vm_compute; reflexivity).
  apply Z.eqb_eq. exact (forall_upto_true _ _ (forall_upto_true _ _ H i Hi) j Hj).
Qed.

Lemma Wz_computed : forall j, (j < 4)%nat -> Wz j = zsum 10 (fun i => dz i j ^ 2).
Proof.
  intros j Hj. apply Z.eqb_eq.
  apply (forall_upto_true 4 (fun j => Wz j =? zsum 10 (fun i => dz i j ^ 2))); [vm_compute; reflexivity|exact Hj].
Qed.

Lemma W_positive : forall j, (j < 4)%nat -> 0 < Wz j.
Proof.
  intros j Hj. apply Z.ltb_lt. apply (forall_upto_true 4 (fun j => 0 <? Wz j)); [vm_compute; reflexivity|exact Hj].
Qed.

Lemma no_kink : forall j i, (j < 4)%nat -> (i < 10)%nat -> 9 * dz i j ^ 2 <> Wz j.
Proof.
  intros j i Hj Hi.
  assert (H : forall_upto 4 (fun j => forall_upto 10 (fun i => negb (9 * dz i j ^ 2 =? Wz j))) = true)
    by (vm_compute; reflexivity).
  pose proof (forall_upto_true _ _ (forall_upto_true _ _ H j Hj) i Hi) as E.
  apply Bool.negb_true_iff, Z.eqb_neq in E. exact E.
Qed.

Lemma β_apart : forall j, (j < 4)%nat -> U * U * P < 10 * Z.abs (sqz j * P - nth j printed_dβ_ 0 * (U * U)).
Proof.
  intros j Hj. apply Z.ltb_lt.
  apply (forall_upto_true 4 (fun j => U * U * P <? 10 * Z.abs (sqz j * P - nth j printed_dβ_ 0 * (U * U))));
    [vm_compute; reflexivity|exact Hj].
Qed.

Lemma γ_apart : forall j, (j < 4)%nat -> apart (3 * sqdz j) (U * U) (Wz j) (nth j printed_dγ_ 0) = true.
Proof. apply forall_upto_true. vm_compute. reflexivity. Qed.

Lemma Γ1_apart : forall k j, (k < 7)%nat -> (j < 4)%nat ->
  apart (hz k j) (U * Wz j) (Wz j) (entry printed_dΓ1_ k j) = true.
Proof.
  intros k j Hk Hj.
  assert (H : forall_upto 7 (fun k => forall_upto 4 (fun j =>
    apart (hz k j) (U * Wz j) (Wz j) (entry printed_dΓ1_ k j))) = true) by (vm_compute; reflexivity).
  exact (forall_upto_true _ _ (forall_upto_true _ _ H k Hk) j Hj).
Qed.

Lemma β_near : forall j, (j < 4)%nat ->
  10 ^ 5 * Z.abs (zsum 10 (fun i => code_qz i j) * P - nth j printed_dβ_ 0 * (U * U)) < U * U * P.
Proof.
  intros j Hj. apply Z.ltb_lt.
  apply (forall_upto_true 4 (fun j =>
    10 ^ 5 * Z.abs (zsum 10 (fun i => code_qz i j) * P - nth j printed_dβ_ 0 * (U * U)) <? U * U * P));
    [vm_compute; reflexivity|exact Hj].
Qed.

Lemma γ_near : forall j, (j < 4)%nat ->
  near (3 * γz j * zsum 10 (fun i => code_qz i j * dz i j)) (U * U) (Wz j) (nth j printed_dγ_ 0) = true.
Proof.
  apply (forall_upto_true 4 (fun j =>
    near (3 * γz j * zsum 10 (fun i => code_qz i j * dz i j)) (U * U) (Wz j) (nth j printed_dγ_ 0))).
  vm_compute. reflexivity.
Qed.

Lemma Γ1_near : forall k j, (k < 7)%nat -> (j < 4)%nat ->
  near (code_hz k j) (30 * U * U * U) (Wz j) (entry printed_dΓ1_ k j) = true.
Proof.
  intros k j Hk Hj.
  assert (H : forall_upto 7 (fun k => forall_upto 4 (fun j =>
    near (code_hz k j) (30 * U * U * U) (Wz j) (entry printed_dΓ1_ k j))) = true) by (vm_compute; reflexivity).
  exact (forall_upto_true _ _ (forall_upto_true _ _ H k Hk) j Hj).
Qed.

Open Scope R_scope.

(* √W lies between r and r + 1, and c √W between the smaller and the larger of c r and c (r + 1). *)
Lemma root_between W c : (0 < W)%Z -> let r := IZR (Z.sqrt W) in
  Rmin (c * r) (c * (r + 1)) <= c * sqrt (IZR W) <= Rmax (c * r) (c * (r + 1)).
Proof.
  intros HW. destruct (Z.sqrt_spec W ltac:(lia)) as [L1 L2]. pose proof (Z.sqrt_nonneg W) as L0.
  cbv zeta. set (r := Z.sqrt W) in *. set (w := sqrt (IZR W)).
  assert (PW : 0 < IZR W) by now apply IZR_lt.
  assert (Pw : 0 < w) by now apply sqrt_lt_R0.
  assert (Ew : w * w = IZR W) by (apply sqrt_sqrt; lra).
  assert (Pr : 0 <= IZR r) by now apply IZR_le.
  assert (B1 : IZR r <= w).
  { apply IZR_le in L1. rewrite mult_IZR in L1. apply Rnot_lt_le. intros C.
    assert (w * w < IZR r * IZR r) by nra. lra. }
  assert (B2 : w <= IZR r + 1).
  { apply IZR_lt in L2. rewrite mult_IZR, succ_IZR in L2. apply Rnot_lt_le. intros C.
    assert ((IZR r + 1) * (IZR r + 1) < w * w) by nra. lra. }
  destruct (Rle_lt_dec 0 c).
  - rewrite Rmin_left, Rmax_right by nra. nra.
  - rewrite Rmin_right, Rmax_left by nra. nra.
Qed.

(* The two tests in real numbers. *)
Lemma below T M W c : (0 < W)%Z -> (T < Z.min (c * M * Z.sqrt W) (c * M * (Z.sqrt W + 1)))%Z ->
  IZR T < IZR c * IZR M * sqrt (IZR W).
Proof.
  intros HW H. destruct (root_between W (IZR c * IZR M) HW) as [b _]. apply Rlt_le_trans with (2 := b).
  apply Rmin_case.
  - assert (Hl := Z.lt_le_trans _ _ _ H (Z.le_min_l _ _)). apply IZR_lt in Hl. rewrite !mult_IZR in Hl. exact Hl.
  - assert (Hl := Z.lt_le_trans _ _ _ H (Z.le_min_r _ _)). apply IZR_lt in Hl.
    rewrite !mult_IZR, plus_IZR in Hl. exact Hl.
Qed.

Lemma above T M W c : (0 < W)%Z -> (Z.max (c * M * Z.sqrt W) (c * M * (Z.sqrt W + 1)) < T)%Z ->
  IZR c * IZR M * sqrt (IZR W) < IZR T.
Proof.
  intros HW H. destruct (root_between W (IZR c * IZR M) HW) as [_ b]. apply Rle_lt_trans with (1 := b).
  apply Rmax_case.
  - assert (Hl := Z.le_lt_trans _ _ _ (Z.le_max_l _ _) H). apply IZR_lt in Hl. rewrite !mult_IZR in Hl. exact Hl.
  - assert (Hl := Z.le_lt_trans _ _ _ (Z.le_max_r _ _) H). apply IZR_lt in Hl.
    rewrite !mult_IZR, plus_IZR in Hl. exact Hl.
Qed.

Lemma P_positive : 0 < IZR P.
Proof. apply IZR_lt. reflexivity. Qed.

(* A quotient times its divisor *)
Lemma quotient_times T p M w : 0 < M -> 0 < w ->
  (T / (M * w) - p / IZR P) * (IZR P * (M * w)) = T * IZR P - p * (M * w).
Proof. intros HM Hw. pose proof P_positive. field. lra. Qed.

Lemma apart_correct T M W p : (0 < M)%Z -> (0 < W)%Z -> apart T M W p = true ->
  1 / 10 < Rabs (IZR T / (IZR M * sqrt (IZR W)) - IZR p / IZR P).
Proof.
  intros HM HW H. unfold apart in H. cbv zeta in H. pose proof P_positive as PP.
  assert (PM : 0 < IZR M) by now apply IZR_lt.
  assert (Pw : 0 < sqrt (IZR W)) by now apply sqrt_lt_R0, IZR_lt.
  pose proof (quotient_times (IZR T) (IZR p) (IZR M) _ PM Pw) as E. set (x := _ - IZR p / IZR P) in *.
  assert (PD : 0 < IZR P * (IZR M * sqrt (IZR W)))
    by (apply Rmult_lt_0_compat; [|apply Rmult_lt_0_compat]; assumption).
  apply Bool.orb_true_iff in H as [H|H]; apply Z.ltb_lt in H.
  - apply below in H; [|exact HW]. rewrite minus_IZR, !mult_IZR in H.
    assert (x < - (1 / 10)) by (apply Rmult_lt_reg_r with (1 := PD); lra). rewrite Rabs_left; lra.
  - apply above in H; [|exact HW]. rewrite plus_IZR, !mult_IZR in H.
    assert (1 / 10 < x) by (apply Rmult_lt_reg_r with (1 := PD); lra). rewrite Rabs_right; lra.
Qed.

Lemma near_correct T M W p : (0 < M)%Z -> (0 < W)%Z -> near T M W p = true ->
  Rabs (IZR T / (IZR M * sqrt (IZR W)) - IZR p / IZR P) < 1 / 100000.
Proof.
  intros HM HW H. unfold near in H. cbv zeta in H. pose proof P_positive as PP.
  assert (PM : 0 < IZR M) by now apply IZR_lt.
  assert (Pw : 0 < sqrt (IZR W)) by now apply sqrt_lt_R0, IZR_lt.
  pose proof (quotient_times (IZR T) (IZR p) (IZR M) _ PM Pw) as E. set (x := _ - IZR p / IZR P) in *.
  assert (PD : 0 < IZR P * (IZR M * sqrt (IZR W)))
    by (apply Rmult_lt_0_compat; [|apply Rmult_lt_0_compat]; assumption).
  apply andb_prop in H as [L H]. apply Z.ltb_lt in L, H.
  apply above in L; [|exact HW]. apply below in H; [|exact HW].
  change (10 ^ 5)%Z with 100000%Z in *.
  rewrite plus_IZR, !mult_IZR in H. rewrite minus_IZR, !mult_IZR in L.
  apply Rabs_def1; apply Rmult_lt_reg_r with (1 := PD); lra.
Qed.

(* The question's data as real numbers. *)
Module Question.
  Definition X : matrix := fun i k => IZR (entry X_ i k).
  Definition Γ1 : matrix := fun k j => IZR (entry G1_ k j) / IZR U.
  Definition γ : vector := fun j => IZR (γz j).
  Definition β : vector := fun j => - IZR (γz j).
  Definition Γ2 : vector := fun j => IZR (nth j G2_ 0%Z) / IZR U.
  Definition u : vector := fun i => IZR (nth i u_ 0%Z) / IZR U.
  Definition y : vector := fun i => yhat 10 7 4 1 0 relu X Γ1 γ β Γ2 i + u i.
End Question.

(* What the question prints. *)
Definition printed_dβ (j : nat) : R := IZR (nth j printed_dβ_ 0%Z) / IZR P.
Definition printed_dγ (j : nat) : R := IZR (nth j printed_dγ_ 0%Z) / IZR P.
Definition printed_dΓ1 (k j : nat) : R := IZR (entry printed_dΓ1_ k j) / IZR P.

Section AtTheQuestion.
  Import Question.
  Notation Z := (Z 7 X Γ1).
  Notation μ := (μ 10 7 X Γ1).
  Notation s := (s 10 7 1 0 X Γ1).
  Notation Xhat := (Xhat 10 7 1 0 X Γ1).
  Notation B := (B 10 7 1 0 X Γ1 γ β).
  Notation e := (e 10 7 4 1 0 relu X y Γ1 γ β Γ2).
  Notation Q := (Q 10 7 4 1 0 relu relu' X y Γ1 γ β Γ2).
  Notation dβ := (dβ 10 7 4 1 0 relu relu' X y Γ1 γ β Γ2).
  Notation dγ := (dγ 10 7 4 1 0 relu relu' X y Γ1 γ β Γ2).
  Notation dΓ1 := (dΓ1 10 7 4 1 0 relu relu' X y Γ1 γ β Γ2).
  Notation Loss Γ1 γ β := (Loss 10 7 4 1 0 relu X y Γ1 γ β Γ2).
  Notation w j := (sqrt (IZR (Wz j))).

  Lemma sum_IZR n f : Σ (i < n) IZR (f i) = IZR (zsum n f).
  Proof. induction n as [|n IH]; [reflexivity|]. simpl. now rewrite IH, plus_IZR. Qed.

  Lemma U_pos : (0 < U)%Z.
  Proof. reflexivity. Qed.

  Lemma U_positive : 0 < IZR U.
  Proof. apply IZR_lt. reflexivity. Qed.

  Local Opaque U P dz Wz zsum entry nth.

  Lemma INR_10 : INR 10 = 10.
  Proof. simpl. ring. Qed.

  Lemma w_positive j : (j < 4)%nat -> 0 < w j.
  Proof. intros H. apply sqrt_lt_R0, IZR_lt. now apply W_positive. Qed.

  Lemma w_squared j : (j < 4)%nat -> w j * w j = IZR (Wz j).
  Proof. intros H. apply sqrt_sqrt. left. apply IZR_lt. now apply W_positive. Qed.

  Lemma question_Z i j : Z i j = IZR (zz i j) / IZR U.
  Proof.
    unfold OneLayer.Z, zz, X, Γ1. rewrite <- sum_IZR, <- sum_div. apply sum_ext. intros. rewrite mult_IZR.
    unfold Rdiv. ring.
  Qed.

  Lemma question_deviation i j : (i < 10)%nat -> (j < 4)%nat -> Z i j - μ j = IZR (dz i j) / (10 * IZR U).
  Proof.
    intros Hi Hj. pose proof U_positive. unfold OneLayer.μ.
    rewrite question_Z, (sum_ext 10 _ (fun l => IZR (zz l j) / IZR U))
      by (intros; apply question_Z).
    rewrite sum_div, sum_IZR, INR_10, dz_computed, minus_IZR, mult_IZR by assumption. field. lra.
  Qed.

  Lemma question_variance j : (j < 4)%nat -> variance 10 7 1 0 X Γ1 j = IZR (Wz j) / (900 * IZR U ^ 2).
  Proof.
    intros Hj. pose proof U_positive. unfold OneLayer.variance.
    rewrite (sum_ext 10 _ (fun i => IZR (dz i j ^ 2)%Z / (100 * IZR U ^ 2))).
    - rewrite sum_div, sum_IZR, INR_10, Wz_computed by exact Hj. field. lra.
    - intros i Hi. rewrite question_deviation by assumption. rewrite Z.pow_2_r, mult_IZR. field. lra.
  Qed.

  Lemma question_positive j : (j < 4)%nat -> 0 < variance 10 7 1 0 X Γ1 j.
  Proof.
    intros Hj. pose proof U_positive. rewrite question_variance by exact Hj.
    apply Rdiv_lt_0_compat; [apply IZR_lt; now apply W_positive|nra].
  Qed.

  Lemma question_s j : (j < 4)%nat -> s j = w j / (30 * IZR U).
  Proof.
    intros Hj. pose proof U_positive. pose proof (w_positive j Hj). unfold OneLayer.s.
    rewrite question_variance by exact Hj.
    replace (IZR (Wz j) / (900 * IZR U ^ 2)) with (w j / (30 * IZR U) * (w j / (30 * IZR U))).
    - apply sqrt_square. left. apply Rdiv_lt_0_compat; lra.
    - transitivity (w j * w j / (900 * IZR U ^ 2)); [field; lra|]. now rewrite w_squared.
  Qed.

  Lemma question_Xhat i j : (i < 10)%nat -> (j < 4)%nat -> Xhat i j = 3 * IZR (dz i j) / w j.
  Proof.
    intros Hi Hj. pose proof U_positive. pose proof (w_positive j Hj). unfold OneLayer.Xhat.
    rewrite question_deviation, question_s by assumption. field. lra.
  Qed.

  Lemma question_γ_positive j : 0 < γ j.
  Proof. apply IZR_lt. unfold γz. lia. Qed.

  (* B = γ (X̂ - 1): its sign is that of 3 d - √W. *)
  Lemma question_B i j : (i < 10)%nat -> (j < 4)%nat -> B i j = γ j * ((3 * IZR (dz i j) - w j) / w j).
  Proof.
    intros Hi Hj. pose proof (w_positive j Hj). unfold OneLayer.B. rewrite question_Xhat by assumption.
    unfold γ, β. field. lra.
  Qed.

  Lemma question_active i j : (i < 10)%nat -> (j < 4)%nat ->
    (active i j = true /\ 0 < B i j) \/ (active i j = false /\ B i j < 0).
  Proof.
    intros Hi Hj. pose proof (w_positive j Hj) as Pw. pose proof (w_squared j Hj) as Ew.
    pose proof (question_γ_positive j) as Pγ. pose proof (no_kink j i Hj Hi) as K. rewrite question_B by assumption.
    set (v := w j) in *. clearbody v. set (d := dz i j) in *. set (W := Wz j) in *.
    assert (I : 0 < / v) by now apply Rinv_0_lt_compat.
    assert (E9 : IZR (9 * d ^ 2) = (3 * IZR d) * (3 * IZR d)) by (rewrite Z.pow_2_r, !mult_IZR; ring).
    unfold active. fold d W. destruct (Z.ltb_spec 0 d) as [D|D]; [destruct (Z.ltb_spec W (9 * d ^ 2)) as [L|L]|].
    - left. split; [reflexivity|]. apply IZR_lt in D, L. rewrite E9, <- Ew in L.
      assert (v < 3 * IZR d)
        by (apply Rnot_le_lt; intros C; assert (3 * IZR d * (3 * IZR d) <= v * v)
            by (apply Rmult_le_compat; lra); lra).
      apply Rmult_lt_0_compat; [exact Pγ|]. apply Rdiv_lt_0_compat; lra.
    - right. split; [reflexivity|]. apply IZR_lt in D.
      assert (L' : (9 * d ^ 2 < W)%Z) by lia. apply IZR_lt in L'. rewrite E9, <- Ew in L'.
      assert (3 * IZR d < v)
        by (apply Rnot_le_lt; intros C; assert (v * v <= 3 * IZR d * (3 * IZR d))
            by (apply Rmult_le_compat; lra); lra).
      assert (0 < γ j * ((v - 3 * IZR d) / v))
        by (apply Rmult_lt_0_compat; [exact Pγ|]; apply Rdiv_lt_0_compat; lra). unfold Rdiv in *. nra.
    - right. split; [reflexivity|]. apply IZR_le in D.
      assert (0 < γ j * ((v - 3 * IZR d) / v))
        by (apply Rmult_lt_0_compat; [exact Pγ|]; apply Rdiv_lt_0_compat; lra). unfold Rdiv in *. nra.
  Qed.

  Lemma question_differentiable i j : (i < 10)%nat -> (j < 4)%nat -> is_derive relu (B i j) (relu' (B i j)).
  Proof. intros Hi Hj. apply derive_relu. destruct (question_active i j Hi Hj) as [[_ H]|[_ H]]; lra. Qed.

  (* The residual is u. *)
  Lemma question_e i : e i = u i.
  Proof. unfold OneLayer.e, y. ring. Qed.

  Lemma question_Q i j : (i < 10)%nat -> (j < 4)%nat -> Q i j = IZR (qz i j) / (IZR U * IZR U).
  Proof.
    intros Hi Hj. pose proof U_positive. unfold Claims.Q, stub_with, hadamard, scaled, outer.
    rewrite question_e. unfold u, Γ2, qz.
    destruct (question_active i j Hi Hj) as [[-> H']|[-> H']].
    - rewrite relu'_right by exact H'. rewrite !mult_IZR. field. lra.
    - rewrite relu'_left by lra. field. lra.
  Qed.

  Lemma question_rows : INR 10 <> 0.
  Proof. rewrite INR_10. lra. Qed.

  Lemma question_divisor : INR 10 - 1 <> 0.
  Proof. rewrite INR_10. lra. Qed.

  Lemma question_dβ j : (j < 4)%nat -> INR 10 * dβ j = IZR (sqz j) / (IZR U * IZR U).
  Proof.
    intros Hj. rewrite <- sum_Q by exact question_rows.
    rewrite (sum_ext 10 _ (fun i => IZR (qz i j) / (IZR U * IZR U))) by (intros; now apply question_Q).
    now rewrite sum_div, sum_IZR.
  Qed.

  Lemma question_dγ j : (j < 4)%nat -> INR 10 * dγ j = 3 * IZR (sqdz j) / (IZR U * IZR U * w j).
  Proof.
    intros Hj. pose proof U_positive. pose proof (w_positive j Hj). rewrite <- sum_Q_Xhat by exact question_rows.
    rewrite (sum_ext 10 _ (fun i => IZR (qz i j * dz i j) * (3 / (IZR U * IZR U * w j)))).
    - rewrite sum_scal_r, sum_IZR. unfold sqdz. field. lra.
    - intros. rewrite question_Q, question_Xhat, mult_IZR by assumption. field. lra.
  Qed.

  Lemma question_dΓ1 k j : (k < 7)%nat -> (j < 4)%nat ->
    INR 10 * dΓ1 k j = IZR (hz k j) / (IZR (U * Wz j) * w j).
  Proof.
    intros Hk Hj. pose proof U_positive as PU. pose proof (w_positive j Hj) as Pw.
    pose proof (question_dβ j Hj) as Eβ. pose proof (question_dγ j Hj) as Eγ. rewrite INR_10 in *.
    set (b := IZR (sqz j)) in *. set (c := IZR (sqdz j)) in *.
    assert (PW : 0 < IZR (Wz j)) by (apply IZR_lt; now apply W_positive).
    unfold OneLayer.dΓ1. rewrite <- sum_scal_l.
    rewrite (sum_ext 10 _ (fun i =>
        γ j / s j / (IZR U * IZR U) * IZR (entry X_ i k * qz i j)
        + - (γ j / s j * (b / (10 * IZR U * IZR U))) * IZR (entry X_ i k)
        + - (γ j / s j * (c / (IZR U * IZR U * IZR (Wz j)))) * IZR (entry X_ i k * dz i j))).
    - rewrite !sum_plus, !sum_scal_l, !sum_IZR, question_s by exact Hj. unfold hz.
      repeat (rewrite mult_IZR || rewrite minus_IZR). fold b c. unfold γ. field. lra.
    - intros i Hi. unfold OneLayer.dZ.
      assert (ES : stub 10 7 4 1 0 relu relu' X y Γ1 γ β Γ2 i j = IZR (qz i j) / (IZR U * IZR U) / 10).
      { pose proof (Q_is_N_times_S 10 7 4 1 0 relu relu' X y Γ1 γ β Γ2 question_rows i j) as E.
        rewrite question_Q, INR_10 in E by assumption. lra. }
      rewrite ES, INR_10, question_Xhat by assumption.
      replace (dβ j) with (b / (IZR U * IZR U) / 10) by lra.
      replace (dγ j) with (3 * c / (IZR U * IZR U * w j) / 10) by lra.
      assert (0 < s j) by (rewrite question_s by exact Hj; apply Rdiv_lt_0_compat; lra).
      rewrite !mult_IZR. change (X i k) with (IZR (entry X_ i k)). set (W := IZR (Wz j)) in *. set (v := sqrt W) in *.
      assert (EW : W = v * v) by (symmetry; exact (w_squared j Hj)). clearbody v. rewrite EW. field. lra.
  Qed.

  (* The gradient of the loss at the question's data, *)
  Theorem question_gradient_β j : (j < 4)%nat ->
    is_derive (fun v => Loss Γ1 γ (set β j v)) (β j) (IZR (sqz j) / (IZR U * IZR U)).
  Proof.
    intros Hj. rewrite <- question_dβ by exact Hj.
    apply loss_gradient_β; auto using question_rows, question_divisor, question_positive, question_differentiable.
  Qed.

  Theorem question_gradient_γ j : (j < 4)%nat ->
    is_derive (fun v => Loss Γ1 (set γ j v) β) (γ j) (3 * IZR (sqdz j) / (IZR U * IZR U * w j)).
  Proof.
    intros Hj. rewrite <- question_dγ by exact Hj.
    apply loss_gradient_γ; auto using question_rows, question_divisor, question_positive, question_differentiable.
  Qed.

  Theorem question_gradient_Γ1 k j : (k < 7)%nat -> (j < 4)%nat ->
    is_derive (fun v => Loss (set2 Γ1 k j v) γ β) (Γ1 k j) (IZR (hz k j) / (IZR (U * Wz j) * w j)).
  Proof.
    intros Hk Hj. rewrite <- question_dΓ1 by assumption.
    apply loss_gradient_Γ1; auto using question_rows, question_divisor, question_positive, question_differentiable.
  Qed.

  (* and every number that is printed for it is off by more than 1/10. *)
  Theorem printed_β_are_not_the_gradient j l : (j < 4)%nat ->
    is_derive (fun v => Loss Γ1 γ (set β j v)) (β j) l -> 1 / 10 < Rabs (l - printed_dβ j).
  Proof.
    intros Hj D. apply (derivative_is _ _ _ _ (question_gradient_β j Hj)) in D as ->.
    pose proof (β_apart j Hj) as A. apply IZR_lt in A. rewrite !mult_IZR, abs_IZR, minus_IZR, !mult_IZR in A.
    pose proof U_positive as PU. pose proof P_positive as PP.
    assert (PD : 0 < IZR U * IZR U * IZR P) 
      by (apply Rmult_lt_0_compat; [apply Rmult_lt_0_compat|]; assumption).
    unfold printed_dβ.
    replace (IZR (sqz j) / (IZR U * IZR U) - IZR (nth j printed_dβ_ 0%Z) / IZR P)
      with ((IZR (sqz j) * IZR P - IZR (nth j printed_dβ_ 0%Z) * (IZR U * IZR U)) / (IZR U * IZR U * IZR P))
      by (field; lra).
    unfold Rdiv at 2. rewrite Rabs_mult, (Rabs_right (/ _)) by (left; now apply Rinv_0_lt_compat).
    apply Rmult_lt_reg_r with (IZR U * IZR U * IZR P); [exact PD|]. rewrite (Rmult_assoc (Rabs _)), Rinv_l by lra. lra.
  Qed.

  Theorem printed_γ_are_not_the_gradient j l : (j < 4)%nat ->
    is_derive (fun v => Loss Γ1 (set γ j v) β) (γ j) l -> 1 / 10 < Rabs (l - printed_dγ j).
  Proof.
    intros Hj D. apply (derivative_is _ _ _ _ (question_gradient_γ j Hj)) in D as ->.
    rewrite <- !mult_IZR.
    apply apart_correct; [apply Z.mul_pos_pos; exact U_pos|now apply W_positive|now apply γ_apart].
  Qed.

  Theorem printed_Γ1_are_not_the_gradient k j l : (k < 7)%nat -> (j < 4)%nat ->
    is_derive (fun v => Loss (set2 Γ1 k j v) γ β) (Γ1 k j) l -> 1 / 10 < Rabs (l - printed_dΓ1 k j).
  Proof.
    intros Hk Hj D. apply (derivative_is _ _ _ _ (question_gradient_Γ1 k j Hk Hj)) in D as ->.
    pose proof (W_positive j Hj).
    apply apart_correct; [apply Z.mul_pos_pos; [exact U_pos|assumption]|assumption|now apply Γ1_apart].
  Qed.

  (* The printed numbers are what the code computes, to their last digits: with slopes that are all 1, *)
  Notation code_Q := (code_Q 10 7 4 1 0 relu X y Γ1 γ β Γ2).
  Notation code_w := (code_w 10 7 1 0 X Γ1 γ).

  Lemma question_code_Q i j : code_Q i j = IZR (code_qz i j) / (IZR U * IZR U).
  Proof.
    pose proof U_positive. unfold Claims.code_Q, stub_with, hadamard, scaled, outer.
    rewrite question_e, code_slope_is_one. unfold u, Γ2, code_qz. rewrite !mult_IZR. field. lra.
  Qed.

  Theorem printed_β_are_what_the_code_computes j : (j < 4)%nat ->
    Rabs ((ones ▹[10] code_Q) j - printed_dβ j) < 1 / 100000.
  Proof.
    intros Hj. pose proof U_positive as PU. pose proof P_positive as PP.
    replace ((ones ▹[10] code_Q) j) with (IZR (zsum 10 (fun i => code_qz i j)) / (IZR U * IZR U)).
    - pose proof (β_near j Hj) as A. change (10 ^ 5)%Z with 100000%Z in A.
      apply IZR_lt in A. rewrite !mult_IZR, abs_IZR, minus_IZR, !mult_IZR in A.
      set (T := IZR (zsum 10 _)) in *. unfold printed_dβ. set (p := IZR (nth j printed_dβ_ 0%Z)) in *.
      assert (PD : 0 < IZR U * IZR U * IZR P)
        by (apply Rmult_lt_0_compat; [apply Rmult_lt_0_compat|]; assumption).
      replace (T / (IZR U * IZR U) - p / IZR P) with ((T * IZR P - p * (IZR U * IZR U)) * / (IZR U * IZR U * IZR P))
        by (field; lra).
      rewrite Rabs_mult, (Rabs_right (/ _)) by (left; now apply Rinv_0_lt_compat).
      apply Rmult_lt_reg_r with (IZR U * IZR U * IZR P); [exact PD|].
      rewrite (Rmult_assoc (Rabs _)), Rinv_l by lra. lra.
    - rewrite <- sum_IZR, <- sum_div. apply sum_ext. intros. rewrite question_code_Q. unfold ones. ring.
  Qed.

  (* and with the factor γ, *)
  Theorem printed_γ_are_what_the_code_computes j : (j < 4)%nat ->
    Rabs (diagonal (Xhat ᵀ ·[10] (code_Q ⊙ γ_tilde γ)) j - printed_dγ j) < 1 / 100000.
  Proof.
    intros Hj. pose proof U_positive as PU. pose proof (w_positive j Hj) as Pw.
    replace (diagonal (Xhat ᵀ ·[10] (code_Q ⊙ γ_tilde γ)) j)
      with (IZR (3 * γz j * zsum 10 (fun i => code_qz i j * dz i j)%Z) / (IZR (U * U) * w j)).
    - apply near_correct; [apply Z.mul_pos_pos; exact U_pos|now apply W_positive|now apply γ_near].
    - rewrite !mult_IZR, <- sum_IZR.
      replace (3 * IZR (γz j) * (Σ (i < 10) IZR (code_qz i j * dz i j)) / (IZR U * IZR U * w j))
        with ((3 * IZR (γz j) / (IZR U * IZR U * w j)) * Σ (i < 10) IZR (code_qz i j * dz i j)) by (field; lra).
      rewrite <- sum_scal_l. apply sum_ext. intros i Hi. rewrite mult_IZR.
      unfold transpose, hadamard, γ_tilde, outer, ones. rewrite question_code_Q, question_Xhat by assumption.
      change (γ j) with (IZR (γz j)). field. lra.
  Qed.

  (* and with w = γ s. *)
  Theorem printed_Γ1_are_what_the_code_computes k j : (k < 7)%nat -> (j < 4)%nat ->
    Rabs ((X ᵀ ·[10] (code_Q ⊙ code_w)) k j - printed_dΓ1 k j) < 1 / 100000.
  Proof.
    intros Hk Hj. pose proof U_positive as PU. pose proof (w_positive j Hj) as Pw.
    replace ((X ᵀ ·[10] (code_Q ⊙ code_w)) k j) with (IZR (code_hz k j) / (IZR (30 * U * U * U) * w j)).
    - apply near_correct; [|now apply W_positive|now apply Γ1_near].
      pose proof U_pos. repeat apply Z.mul_pos_pos; assumption || reflexivity.
    - unfold code_hz. rewrite !mult_IZR, <- sum_IZR.
      replace (IZR (γz j) * IZR (Wz j) * (Σ (i < 10) IZR (entry X_ i k * code_qz i j))
          / (30 * IZR U * IZR U * IZR U * w j))
        with (IZR (γz j) * IZR (Wz j) / (30 * IZR U * IZR U * IZR U * w j)
          * Σ (i < 10) IZR (entry X_ i k * code_qz i j)) by (field; lra).
      rewrite <- sum_scal_l. apply sum_ext. intros i Hi. rewrite mult_IZR.
      unfold transpose, hadamard, Claims.code_w. rewrite question_code_Q, question_s by assumption.
      change (X i k) with (IZR (entry X_ i k)). change (γ j) with (IZR (γz j)).
      pose proof (w_squared j Hj) as EW. set (v := w j) in *. clearbody v. rewrite <- EW. field. lra.
  Qed.
End AtTheQuestion.
