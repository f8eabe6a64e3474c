(* A column of a layer with batch normalisation, from its definition: how μ, s, X̂ and B move, and what that makes of a
   loss that moves with B.

   The column has N rows: z i is entry i.  Here z, γ and β move along curves in t, z i t, γ t and β t, any that are
   differentiable: the derivative along every curve holds all partial derivatives at once.  ' marks the derivative at
   t0.  Nothing is assumed of rows that are not there. *)
From Coq Require Import Reals Lra Lia.
From Coquelicot Require Import Coquelicot.
From bnbench Require Import Sums.
Open Scope R_scope.

Definition mean (N : nat) (u : nat -> R) : R := sum N u / INR N.

Section Definitions.
  Variables (N : nat) (ddof eps : R) (z : nat -> R).

  (* μ = mean z,  s = sqrt(Σ (z - μ)² / (N - ddof) + eps),  X̂ = (z - μ) / s,  B = γ X̂ + β *)
  Definition μ : R := mean N z.
  Definition variance : R := (Σ (i < N) (z i - μ) ^ 2) / (INR N - ddof) + eps.
  Definition s : R := sqrt variance.
  Definition Xhat (i : nat) : R := (z i - μ) / s.
  Definition B (γ β : R) (i : nat) : R := γ * Xhat i + β.

  (* Of S = ∂R/∂B:  ∂β = Σ S,  ∂γ = Σ S X̂,  dZ = (γ/s) (S - ∂β/N - X̂ ∂γ/(N - ddof)) *)
  Definition dβ (S : nat -> R) : R := Σ (i < N) S i.
  Definition dγ (S : nat -> R) : R := Σ (i < N) S i * Xhat i.
  Definition dZ (γ : R) (S : nat -> R) (i : nat) : R :=
    γ / s * (S i - dβ S / INR N - Xhat i * dγ S / (INR N - ddof)).
End Definitions.

Section Derivatives.
  Variables (N : nat) (ddof eps t0 : R).
  Variables (z : nat -> R -> R) (z' : nat -> R) (γ β : R -> R) (γ' β' : R).
  Hypothesis rows : INR N <> 0.
  Hypothesis divisor : INR N - ddof <> 0.
  Hypothesis positive : 0 < variance N ddof eps (fun i => z i t0).
  Hypothesis Hz : forall i, (i < N)%nat -> is_derive (z i) t0 (z' i).
  Hypothesis Hγ : is_derive γ t0 γ'.
  Hypothesis Hβ : is_derive β t0 β'.

  Notation μ t := (μ N (fun i => z i t)).
  Notation variance t := (variance N ddof eps (fun i => z i t)).
  Notation s t := (s N ddof eps (fun i => z i t)).
  Notation Xhat i t := (Xhat N ddof eps (fun l => z l t) i).
  Notation B i t := (B N ddof eps (fun l => z l t) (γ t) (β t) i).

  Lemma s_positive : 0 < s t0.
  Proof. now apply sqrt_lt_R0. Qed.

  (* μ' = mean z' *)
  Lemma derive_μ : is_derive (fun t => μ t) t0 (mean N z').
  Proof. apply (derive_div (fun t => Σ (i < N) z i t)). now apply derive_sum. Qed.

  (* Deviations from the mean add up to 0. *)
  Lemma centred : Σ (i < N) (z i t0 - μ t0) = 0.
  Proof. rewrite sum_minus, sum_const. unfold Layer.μ, mean. field. exact rows. Qed.

  (* s' = Σ X̂ z' / (N - ddof): what μ moves drops out, for deviations add up to 0. *)
  Definition s' : R := (Σ (i < N) Xhat i t0 * z' i) / (INR N - ddof).

  Lemma derive_s : is_derive (fun t => s t) t0 s'.
  Proof.
    pose proof s_positive as Hs. set (m := mean N z').
    assert (E : s' = (Σ (i < N) 2 * (z i t0 - μ t0) * (z' i - m)) / (INR N - ddof) / (2 * s t0)).
    { rewrite (sum_ext N (fun i => 2 * (z i t0 - μ t0) * (z' i - m))
        (fun i => 2 * ((z i t0 - μ t0) * z' i) - 2 * m * (z i t0 - μ t0))) by (intros; ring).
      rewrite sum_minus, !sum_scal_l, centred. unfold s', Layer.Xhat.
      rewrite (sum_ext N (fun i => (z i t0 - μ t0) / s t0 * z' i) (fun i => (z i t0 - μ t0) * z' i / s t0))
        by (intros; field; lra).
      rewrite sum_div. field. split; [exact divisor|lra]. }
    rewrite E.
    apply (derive_root (fun t => (Σ (i < N) (z i t - μ t) ^ 2) / (INR N - ddof))); [|exact positive].
    apply (derive_div (fun t => Σ (i < N) (z i t - μ t) ^ 2)).
    apply (derive_sum N (fun i t => (z i t - μ t) ^ 2)). intros i Hi.
    apply (derive_square (z i) (fun t => μ t)); [now apply Hz|exact derive_μ].
  Qed.

  (* X̂' = (z' - μ' - X̂ s') / s *)
  Definition Xhat' (i : nat) : R := (z' i - mean N z' - Xhat i t0 * s') / s t0.

  Lemma derive_Xhat i : (i < N)%nat -> is_derive (fun t => Xhat i t) t0 (Xhat' i).
  Proof.
    intros Hi. pose proof s_positive as Hs.
    apply (derive_quotient (z i) (fun t => μ t) (fun t => s t));
      [now apply Hz|exact derive_μ|exact derive_s|lra].
  Qed.

  (* B' = γ' X̂ + γ X̂' + β' *)
  Definition B' (i : nat) : R := γ' * Xhat i t0 + γ t0 * Xhat' i + β'.

  Lemma derive_B i : (i < N)%nat -> is_derive (fun t => B i t) t0 (B' i).
  Proof. intros Hi. apply (derive_affine γ (fun t => Xhat i t) β); auto using derive_Xhat. Qed.

  (* The layer's gradient: a loss whose slope in B is S moves by Σ S B', and that is dZ · z' + ∂γ γ' + ∂β β'. *)
  Theorem layer_gradient (S : nat -> R) :
    Σ (i < N) S i * B' i
    = Σ (i < N) dZ N ddof eps (fun l => z l t0) (γ t0) S i * z' i
      + dγ N ddof eps (fun l => z l t0) S * γ' + dβ N S * β'.
  Proof.
    pose proof s_positive as Hs.
    set (P := dβ N S). assert (EP : sum N S = P) by reflexivity.
    set (Q := dγ N ddof eps (fun l => z l t0) S).
    rewrite (sum_ext N (fun i => S i * B' i) (fun i => γ t0 / s t0 * (S i * z' i)
      + (β' - γ t0 / s t0 * mean N z') * S i + (γ' - γ t0 / s t0 * s') * (S i * Xhat i t0)))
      by (intros; unfold B', Xhat'; field; lra).
    rewrite (sum_ext N (fun i => dZ N ddof eps (fun l => z l t0) (γ t0) S i * z' i)
      (fun i => γ t0 / s t0 * (S i * z' i) + - (γ t0 / s t0 * P / INR N) * z' i
         + - (γ t0 / s t0 * Q / (INR N - ddof)) * (Xhat i t0 * z' i)))
      by (intros; unfold dZ; fold P Q; field; repeat split; auto; lra).
    rewrite !sum_plus, !sum_scal_l. rewrite EP. unfold s', mean.
    replace (Σ (i < N) S i * Xhat i t0) with Q by reflexivity.
    field. repeat split; auto; lra.
  Qed.
End Derivatives.
