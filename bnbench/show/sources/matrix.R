# Loss and gradients of a network with batch normalisation, in base R: the matrix form.
#
# Every hidden layer takes A (N,p_in), which is X for the first, and gives a(B) (N,p_out):
#
#     Z = A Γ     X̂ = (Z - μ)/s     B = γ ⊙ X̂ + β     a(B)
#     μ_j = the mean of column j of Z     s_j = sqrt( Σ_i (Z_ij - μ_j)²/(N - ddof) + eps )
#
# The head is η = A Γ2, with A of the last layer. The backward pass, with S = ∂R/∂a(B) ⊙ a'(B), is
#
#     ∂R/∂β = 1ᵀ S     ∂R/∂γ = 1ᵀ (S ⊙ X̂)     ∂R/∂Γ = Aᵀ dZ     ∂R/∂A = dZ Γᵀ
#     dZ = (γ/s) ⊙ ( S - 1 (∂R/∂β)ᵀ/N - X̂ ⊙ (∂R/∂γ)ᵀ/(N - ddof) )
#
# whose last two terms are what flows through μ and through s: hand-written versions most often forget them.
#
# Conventions:
#     eps is inside the root. ddof = 1, eps = 0 is R's `scale`; ddof = 0, eps = 1e-5 is PyTorch's layer.
#     The loss is a mean, so that 1/N is in every gradient. "squared" is Σ(y - η)²/N, without a half;
#     "logistic" (y from 0 to 1) and "poisson" (y of at least 0) are minus the log-likelihood, η being the log-odds or
#     the log of the rate; "poisson" leaves out log y!.
#     The slope of ReLU at 0 is 0, that of leaky ReLU 1/100.
#     normalization = "frozen" has μ and s² - eps given, as at inference: nothing flows through them, dZ = (γ/s) ⊙ S.
#     normalization = "none" is B = Z, without γ and β, and dZ = S.
#
# SPDX-FileCopyrightText: 2026 The bnbench authors
# SPDX-License-Identifier: MIT

softplus <- function(b) pmax(b, 0) + log1p(exp(-abs(b))) # log(1 + exp(b)), which never overflows

ACTIVATIONS <- list( # name: a(b), and a'(b) from b and v = a(b)
  relu = list(a = function(b) pmax(b, 0), da = function(b, v) (b > 0) * 1),
  sigmoid = list(a = plogis, da = function(b, v) v * (1 - v)),
  tanh = list(a = tanh, da = function(b, v) 1 - v^2),
  gaussian = list(a = function(b) exp(-b^2 / 2), da = function(b, v) -b * v),
  identity = list(a = function(b) b, da = function(b, v) b * 0 + 1),
  softplus = list(a = softplus, da = function(b, v) plogis(b)),
  `leaky-relu` = list(a = function(b) ifelse(b > 0, b, 0.01 * b), da = function(b, v) ifelse(b > 0, 1, 0.01))
)
LOSSES <- list( # name: R, and r = ∂R/∂η (N)
  squared = list(value = function(y, eta) mean((y - eta)^2), slope = function(y, eta) 2 * (eta - y) / length(y)),
  logistic = list(
    value = function(y, eta) mean(softplus(eta) - y * eta),
    slope = function(y, eta) (plogis(eta) - y) / length(y)
  ),
  poisson = list(
    value = function(y, eta) mean(exp(eta) - y * eta),
    slope = function(y, eta) (exp(eta) - y) / length(y)
  )
)

# Each column j of M with `what`[j] subtracted from it, or another operation.
columns <- function(M, what, operation = "-") sweep(M, 2, what, operation)

# The loss R and its gradients by Γ1, γ, β and Γ2: a list of loss, dG1, dgamma, dbeta and dG2.
#
#   X, y             the data: a matrix (N,p1) and a vector (N)
#   G1, gamma, beta  Γ1, a matrix (p1,p2), and γ and β, vectors (p2); of several hidden layers lists, one a layer, and
#                    so are their gradients. γ may be negative. NULL for gamma and beta with normalization = "none"
#   G2               Γ2, a vector (p2), of as many nodes as the last layer has
#   activation       a name in ACTIVATIONS
#   normalization    "batch", "frozen" or "none"
#   ddof, eps        as above
#   loss             a name in LOSSES
#   statistics       for "frozen", list(mean, variance), vectors (p2); of several layers a list of them
gradients <- function(X, y, G1, gamma, beta, G2, activation = "relu", normalization = "batch", ddof = 0, eps = 1e-5,
                      loss = "squared", statistics = NULL) {
  N <- nrow(X)
  activation <- match.arg(activation, names(ACTIVATIONS))
  normalization <- match.arg(normalization, c("batch", "frozen", "none"))
  loss <- match.arg(loss, names(LOSSES))
  stopifnot("y needs a number for each row of X" = length(y) == N)
  stopifnot("X needs more than ddof rows" = N > ddof || normalization != "batch")
  deep <- is.list(G1)
  if (!deep) {
    G1 <- list(G1)
    gamma <- list(gamma)
    beta <- list(beta)
    statistics <- list(statistics)
  }

  A <- X
  layers <- list()
  for (l in seq_along(G1)) {
    layers[[l]] <- forward(A, G1[[l]], gamma[[l]], beta[[l]], statistics[[l]], activation, normalization, ddof, eps)
    A <- layers[[l]]$out
  }
  eta <- drop(A %*% G2)
  r <- LOSSES[[loss]]$slope(y, eta)

  dA <- r %o% G2
  dG1 <- dgamma <- dbeta <- vector("list", length(G1))
  for (l in rev(seq_along(G1))) {
    found <- backward(dA, layers[[l]], G1[[l]], gamma[[l]], normalization, ddof)
    dG1[[l]] <- found$dG
    if (normalization != "none") {
      dgamma[[l]] <- found$dgamma
      dbeta[[l]] <- found$dbeta
    }
    dA <- found$dA
  }
  if (!deep) {
    dG1 <- dG1[[1]]
    dgamma <- dgamma[[1]]
    dbeta <- dbeta[[1]]
  } else if (normalization == "none") {
    dgamma <- dbeta <- NULL
  }
  list(loss = LOSSES[[loss]]$value(y, eta), dG1 = dG1, dgamma = dgamma, dbeta = dbeta, dG2 = drop(crossprod(A, r)))
}

# A layer's output a(B) (N,p_out) of its input A (N,p_in), with A, a'(B), X̂ and s for its backward pass.
forward <- function(A, G, gamma, beta, given, activation, normalization, ddof, eps) {
  Z <- A %*% G
  Xhat <- s <- NULL
  if (normalization == "none") {
    B <- Z
  } else {
    mu <- if (normalization == "batch") colMeans(Z) else given[[1]]
    Zc <- columns(Z, mu)
    variance <- if (normalization == "batch") colSums(Zc^2) / (nrow(Z) - ddof) else given[[2]]
    s <- sqrt(variance + eps)
    Xhat <- columns(Zc, s, "/")
    B <- columns(columns(Xhat, gamma, "*"), beta, "+")
  }
  chosen <- ACTIVATIONS[[activation]]
  out <- chosen$a(B)
  list(out = out, slope = chosen$da(B, out), A = A, Xhat = Xhat, s = s)
}

# ∂R/∂Γ, ∂R/∂γ, ∂R/∂β and ∂R/∂A (N,p_in) of a layer, from dA = ∂R/∂a(B) (N,p_out).
backward <- function(dA, layer, G, gamma, normalization, ddof) {
  S <- dA * layer$slope
  if (normalization == "none") {
    return(list(dG = crossprod(layer$A, S), dA = tcrossprod(S, G)))
  }
  dbeta <- colSums(S)
  dgamma <- colSums(S * layer$Xhat)
  D <- S
  if (normalization == "batch") {
    D <- S - columns(layer$Xhat, dgamma / (nrow(S) - ddof), "*")
    # The mean of D is dbeta / N, since the columns of X̂ add up to 0. Taken of D it makes those of dZ add up to 0 to
    # rounding; what is left of their sums would be multiplied by any offset of A in Aᵀ dZ.
    D <- columns(D, colMeans(D))
  }
  dZ <- columns(D, gamma / layer$s, "*")
  list(dG = crossprod(layer$A, dZ), dgamma = dgamma, dbeta = dbeta, dA = tcrossprod(dZ, G))
}
