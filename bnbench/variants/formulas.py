"""What the families compute, in the letters of `bnbench docs gradient`: the `formula` of the built-in variants."""

SYMBOLS = """\
ε̂ = y - AΓ2 is the residual, R = Σε̂²/N the loss, a' the activation's derivative, ⊙ elementwise, x̄ = Xᵀ1/N. Of \
several layers each does the same with the A of the one below for X, and S = (∂R/∂A) ⊙ a'(B), where ∂R/∂A = dZ Γᵀ of \
the one above; under another loss ∂R/∂η stands for -(2/N) ε̂."""

MATRIX = """\
Z = XΓ1, μ and s over its columns, X̂ = (Z - μ)/s, B = γ ⊙ X̂ + β, A = a(B), ε̂ = y - AΓ2
S = -(2/N) (ε̂Γ2ᵀ) ⊙ a'(B)
∂R/∂β = 1ᵀS, ∂R/∂γ = 1ᵀ(S ⊙ X̂), ∂R/∂Γ2 = -(2/N) Aᵀε̂
dZ = (γ/s) ⊙ (S - 1(∂R/∂β)ᵀ/N - X̂ ⊙ (∂R/∂γ)ᵀ/(N - ddof))
∂R/∂Γ1 = XᵀdZ"""

LOOPS = """\
for each node j: z_i = Σ_k X_ik Γ1_kj for every row i, their mean μ and s, x̂_i = (z_i - μ)/s, b_i = γ_j x̂_i + β_j
for each row i: ε̂_i = y_i - Σ_j a(b_ij) Γ2_j
for each node j: S_i = -(2/N) ε̂_i Γ2_j a'(b_ij)
∂R/∂β_j = Σ_i S_i, ∂R/∂γ_j = Σ_i S_i x̂_i, ∂R/∂Γ2_j = -(2/N) Σ_i a(b_ij) ε̂_i
dz_i = (γ_j/s) (S_i - (∂R/∂β_j)/N - x̂_i (∂R/∂γ_j)/(N - ddof))
∂R/∂Γ1_kj = Σ_i X_ik dz_i"""

KRONECKER = """\
∂R/∂(vec B)ᵀ = -(2/N) ε̂ᵀ (Γ2ᵀ ⊗ I_N) diag(vec a'(B))
∂R/∂βᵀ = ∂R/∂(vec B)ᵀ (I ⊗ 1_N), ∂R/∂γᵀ = ∂R/∂(vec B)ᵀ (I ⊗ X̂) K, where K keeps the columns of one node each
∂R/∂(vec Z)ᵀ = ∂R/∂(vec B)ᵀ (diag(γ) ⊗ I_N) blockdiag_j (I - 11ᵀ/N - x̂_j x̂_jᵀ/(N - ddof))/s_j
∂R/∂(vec Γ1)ᵀ = ∂R/∂(vec Z)ᵀ (I ⊗ X)"""

FUSED = """\
one pass: with x̄ and C = (X - 1x̄ᵀ)ᵀ(X - 1x̄ᵀ), before any row is read: μ = Γ1ᵀx̄, s_j² = Γ1_jᵀ C Γ1_j/(N - ddof) + eps
for each block of rows, in a cache: Z = XΓ1, B = γ ⊙ (Z - μ)/s + β, ε̂ = y - a(B)Γ2, S = -(2/N) (ε̂Γ2ᵀ) ⊙ a'(B)
and their sums ∂R/∂β = 1ᵀS, ∂R/∂γ = 1ᵀ(S ⊙ X̂), ∂R/∂Γ2 = -(2/N) a(B)ᵀε̂ and XᵀS
∂R/∂Γ1 = (XᵀS - x̄(∂R/∂β)ᵀ - CΓ1 diag((∂R/∂γ)/(s (N - ddof)))) diag(γ/s)
stored: Z is kept; μ and s, then the sums, then XᵀdZ, in a sweep over blocks of rows each"""

AUTODIFF = """\
R = (1/N) Σ (y - a(γ ⊙ (XΓ1 - μ)/s + β) Γ2)²
∂R/∂Γ1, ∂R/∂γ, ∂R/∂β, ∂R/∂Γ2: reverse mode through R, through μ and s too, by the framework"""
