(* The activations and their derivatives; and the gradient of the risk with each, with nothing left to assume of a.

   sigmoid, tanh, gaussian, softplus and the identity have their derivative everywhere, ReLU and leaky ReLU off their
   kink alone: there they have none (no_derive_relu, no_derive_leaky_relu).  With these two the gradient is claimed
   where no B_ij is 0. *)
From Coq Require Import Reals Lra Lia.
From Coquelicot Require Import Coquelicot.
From bnbench Require Import Sums OneLayer.
Open Scope R_scope.

(* 1/(1 + exp(-v)), with derivative a (1 - a) *)
Definition sigmoid (v : R) : R := 1 / (1 + exp (- v)).
Definition sigmoid' (v : R) : R := sigmoid v * (1 - sigmoid v).

(* tanh is Coq's, sinh/cosh; its derivative is 1 - a² *)
Definition tanh' (v : R) : R := 1 - tanh v ^ 2.

(* exp(-v²/2) *)
Definition gaussian (v : R) : R := exp (- (v ^ 2 / 2)).
Definition gaussian' (v : R) : R := - v * exp (- (v ^ 2 / 2)).

(* log(1 + exp v), with the sigmoid as derivative *)
Definition softplus (v : R) : R := ln (1 + exp v).
Definition softplus' (v : R) : R := sigmoid v.

Definition identity (v : R) : R := v.
Definition identity' (v : R) : R := 1.

(* max(v, 0); at 0, where there is no derivative, a' is 0 by convention *)
Definition relu (v : R) : R := Rmax v 0.
Definition relu' (v : R) : R := if Rlt_dec 0 v then 1 else 0.

(* v right of 0, leak v elsewhere; at 0, where there is no derivative, a' is leak by convention *)
Section LeakyReLU.
  Variable leak : R.
  Definition leaky_relu (v : R) : R := if Rlt_dec 0 v then v else leak * v.
  Definition leaky_relu' (v : R) : R := if Rlt_dec 0 v then 1 else leak.
End LeakyReLU.

Theorem derive_sigmoid v : is_derive sigmoid v (sigmoid' v).
Proof.
  pose proof (exp_pos (- v)). unfold sigmoid, sigmoid'. auto_derive; [lra|]. reals. unfold sigmoid. field. lra.
Qed.

Theorem derive_tanh v : is_derive tanh v (tanh' v).
Proof.
  pose proof (exp_pos v). pose proof (exp_pos (- v)). unfold tanh', tanh, sinh, cosh.
  auto_derive; [lra|]. reals. field. lra.
Qed.

Theorem derive_gaussian v : is_derive gaussian v (gaussian' v).
Proof.
  unfold gaussian, gaussian'. auto_derive; [easy|]. reals.
  replace (v * (v * 1) * / 2) with (v ^ 2 / 2) by (simpl; field). field.
Qed.

Theorem derive_softplus v : is_derive softplus v (softplus' v).
Proof.
  pose proof (exp_pos v) as H. unfold softplus, softplus', sigmoid. auto_derive; [lra|]. reals.
  rewrite exp_Ropp. field. lra.
Qed.

Theorem derive_identity v : is_derive identity v (identity' v).
Proof. apply (is_derive_id (K := R_AbsRing)). Qed.

Lemma relu_positive v : 0 <= v -> relu v = v.
Proof. intros H. unfold relu. now apply Rmax_left. Qed.

Lemma relu_negative v : v <= 0 -> relu v = 0.
Proof. intros H. unfold relu. now apply Rmax_right. Qed.

Lemma leaky_relu_positive leak v : 0 <= v -> leaky_relu leak v = v.
Proof. intros H. unfold leaky_relu. destruct (Rlt_dec 0 v); [reflexivity|]. replace v with 0 by lra. ring. Qed.

Lemma leaky_relu_negative leak v : v <= 0 -> leaky_relu leak v = leak * v.
Proof. intros H. unfold leaky_relu. destruct (Rlt_dec 0 v); [lra|reflexivity]. Qed.

(* What is v right of 0 and c v left of it. *)
Section Kink.
  Variables (f : R -> R) (c : R).
  Hypothesis right : forall v, 0 <= v -> f v = v.
  Hypothesis left : forall v, v <= 0 -> f v = c * v.

  (* It has slope 1 right of the kink, and c left of it. *)
  Lemma derive_off_kink v : v <> 0 -> is_derive f v (if Rlt_dec 0 v then 1 else c).
  Proof.
    intros H. destruct (Rlt_dec 0 v) as [P|P].
    - apply (is_derive_ext_loc (fun x => x)); [|apply (is_derive_id (K := R_AbsRing))].
      apply (locally_interval _ v 0 p_infty); [exact P|exact I|].
      intros x Hx _. symmetry. apply right. simpl in Hx. lra.
    - apply (is_derive_ext_loc (fun x => c * x)); [|auto_derive; [exact I|reals; ring]].
      apply (locally_interval _ v m_infty 0); [exact I|simpl; lra|].
      intros x _ Hx. symmetry. apply left. simpl in Hx. lra.
  Qed.

  (* At the kink a derivative would be 1, from the right, and c, from the left. *)
  Lemma derivative_at_kink l : is_derive f 0 l -> l = 1 /\ l = c.
  Proof.
    intros D. apply is_derive_Reals in D.
    split; apply cond_eq; intros ε Hε; destruct (D ε Hε) as [d Hd]; pose proof (cond_pos d) as P.
    - specialize (Hd (d / 2) ltac:(lra) ltac:(rewrite Rabs_right; lra)). rewrite !right in Hd by lra.
      replace ((0 + d / 2 - 0) / (d / 2) - l) with (- (l - 1)) in Hd by (field; lra). now rewrite Rabs_Ropp in Hd.
    - specialize (Hd (- (d / 2)) ltac:(lra) ltac:(rewrite Rabs_left; lra)). rewrite !left in Hd by lra.
      replace ((c * (0 + - (d / 2)) - c * 0) / - (d / 2) - l) with (- (l - c)) in Hd by (field; lra).
      now rewrite Rabs_Ropp in Hd.
  Qed.
End Kink.

(* 1 right of the kink, 0 left of it *)
Theorem derive_relu v : v <> 0 -> is_derive relu v (relu' v).
Proof.
  intros H. apply (derive_off_kink relu 0); [apply relu_positive| |assumption].
  intros x Hx. rewrite relu_negative by exact Hx. ring.
Qed.

(* At the kink no number is ReLU's derivative: from the right it would be 1, from the left 0. *)
Theorem no_derive_relu l : ~ is_derive relu 0 l.
Proof.
  intros D. destruct (derivative_at_kink relu 0) with (l := l) as [R1 R2]; [apply relu_positive| |assumption|lra].
  intros x Hx. rewrite relu_negative by exact Hx. ring.
Qed.

(* 1 right of the kink, leak left of it *)
Theorem derive_leaky_relu leak v : v <> 0 -> is_derive (leaky_relu leak) v (leaky_relu' leak v).
Proof.
  intros H. apply (derive_off_kink (leaky_relu leak) leak); [apply leaky_relu_positive| |assumption].
  apply leaky_relu_negative.
Qed.

(* At the kink there is none either, but for a leak of 1, which is the identity. *)
Theorem no_derive_leaky_relu leak l : leak <> 1 -> ~ is_derive (leaky_relu leak) 0 l.
Proof.
  intros H D. apply H. destruct (derivative_at_kink (leaky_relu leak) leak) with (l := l) as [<- E]; auto.
  - apply leaky_relu_positive.
  - apply leaky_relu_negative.
Qed.

(* risk_gradient with each activation. *)
Section Instances.
  Variables (N p1 p2 : nat) (ddof eps : R) (X : nat -> nat -> R) (y : nat -> R) (t0 : R).
  Variables (Γ1 : nat -> nat -> R -> R) (γ β Γ2 : nat -> R -> R) (Γ1' : nat -> nat -> R) (γ' β' Γ2' : nat -> R).

  Notation Γ1_ t := (fun k j => Γ1 k j t).
  Notation γ_ t := (fun j => γ j t).
  Notation β_ t := (fun j => β j t).
  Notation Γ2_ t := (fun j => Γ2 j t).
  Notation B t := (B N p1 ddof eps X (Γ1_ t) (γ_ t) (β_ t)).
  Notation Risk a t := (Risk N p1 p2 ddof eps a X y (Γ1_ t) (γ_ t) (β_ t) (Γ2_ t)).
  Notation dΓ1 a a' := (dΓ1 N p1 p2 ddof eps a a' X y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dγ a a' := (dγ N p1 p2 ddof eps a a' X y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dβ a a' := (dβ N p1 p2 ddof eps a a' X y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).
  Notation dΓ2 a := (dΓ2 N p1 p2 ddof eps a X y (Γ1_ t0) (γ_ t0) (β_ t0) (Γ2_ t0)).

  Hypothesis rows : INR N <> 0.
  Hypothesis divisor : INR N - ddof <> 0.
  Hypothesis positive : forall j, (j < p2)%nat -> 0 < variance N p1 ddof eps X (Γ1_ t0) j.
  Hypothesis HΓ1 : forall k j, (k < p1)%nat -> (j < p2)%nat -> is_derive (Γ1 k j) t0 (Γ1' k j).
  Hypothesis Hγ : forall j, (j < p2)%nat -> is_derive (γ j) t0 (γ' j).
  Hypothesis Hβ : forall j, (j < p2)%nat -> is_derive (β j) t0 (β' j).
  Hypothesis HΓ2 : forall j, (j < p2)%nat -> is_derive (Γ2 j) t0 (Γ2' j).

  (* Σ ∂Γ1 Γ1' + Σ ∂γ γ' + Σ ∂β β' + Σ ∂Γ2 Γ2', with a and a' *)
  Notation slope a a' :=
    ((Σ (k < p1) Σ (j < p2) dΓ1 a a' k j * Γ1' k j) + (Σ (j < p2) dγ a a' j * γ' j)
     + (Σ (j < p2) dβ a a' j * β' j) + Σ (j < p2) dΓ2 a j * Γ2' j).

  Corollary risk_gradient_sigmoid : is_derive (fun t => Risk sigmoid t) t0 (slope sigmoid sigmoid').
  Proof. apply risk_gradient; auto using derive_sigmoid. Qed.

  Corollary risk_gradient_tanh : is_derive (fun t => Risk tanh t) t0 (slope tanh tanh').
  Proof. apply risk_gradient; auto using derive_tanh. Qed.

  Corollary risk_gradient_gaussian : is_derive (fun t => Risk gaussian t) t0 (slope gaussian gaussian').
  Proof. apply risk_gradient; auto using derive_gaussian. Qed.

  Corollary risk_gradient_softplus : is_derive (fun t => Risk softplus t) t0 (slope softplus softplus').
  Proof. apply risk_gradient; auto using derive_softplus. Qed.

  Corollary risk_gradient_identity : is_derive (fun t => Risk identity t) t0 (slope identity identity').
  Proof. apply risk_gradient; auto using derive_identity. Qed.

  Corollary risk_gradient_relu :
    (forall i j, (i < N)%nat -> (j < p2)%nat -> B t0 i j <> 0) ->
    is_derive (fun t => Risk relu t) t0 (slope relu relu').
  Proof. intros H. apply risk_gradient; auto using derive_relu. Qed.

  Corollary risk_gradient_leaky_relu leak :
    (forall i j, (i < N)%nat -> (j < p2)%nat -> B t0 i j <> 0) ->
    is_derive (fun t => Risk (leaky_relu leak) t) t0 (slope (leaky_relu leak) (leaky_relu' leak)).
  Proof. intros H. apply risk_gradient; auto using derive_leaky_relu. Qed.
End Instances.

(* Data with no B_ij at the kink exist: those of data_exist, with γ = 1 and β = 0. *)
Example data_off_the_kink_exist :
  let X := fun i (k : nat) => INR i in
  let Γ1 := fun (k j : nat) => 1 in
  0 < variance 2 1 1 0 X Γ1 0 /\
  forall i j, (i < 2)%nat -> (j < 1)%nat -> B 2 1 1 0 X Γ1 (fun _ => 1) (fun _ => 0) i j <> 0.
Proof.
  cbv zeta. assert (P : 0 < variance 2 1 1 0 (fun i (k : nat) => INR i) (fun (k j : nat) => 1) 0)
    by (destruct data_exist as (_ & _ & H & _); apply H; lia).
  split; [exact P|]. intros i j Hi Hj. replace j with 0%nat by lia.
  apply sqrt_lt_R0 in P. change (sqrt _) with (s 2 1 1 0 (fun i (k : nat) => INR i) (fun (k j : nat) => 1) 0) in P.
  unfold B, Xhat, Rdiv. apply Rinv_0_lt_compat in P.
  set (v := / s _ _ _ _ _ _ _) in *. unfold μ, Z. simpl sum. simpl (INR 2).
  assert (E : i = 0%nat \/ i = 1%nat) by lia. destruct E as [-> | ->]; simpl.
  - replace (1 * ((0 + 0 * 1 - (0 + (0 + 0 * 1) + (0 + 1 * 1)) * / (1 + 1)) * v) + 0) with (- (v / 2)) by field. lra.
  - replace (1 * ((0 + 1 * 1 - (0 + (0 + 0 * 1) + (0 + 1 * 1)) * / (1 + 1)) * v) + 0) with (v / 2) by field. lra.
Qed.
