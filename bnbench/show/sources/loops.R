# Loss and gradients of a network with batch normalisation, in base R: loops over nodes.
#
# For each node j of a hidden layer, whose input is A (N,p_in), X for the first layer:
#
#     z_i = Σ_k A_ik Γ_kj     x̂_i = (z_i - μ)/s     b_i = γ_j x̂_i + β_j     a(b_i)
#     μ = Σ z_i/N     s = sqrt( Σ (z_i - μ)²/(N - ddof) + eps )
#
# The head is η_i = Σ_j a(b_ij) Γ2_j. The backward pass, with S_i = ∂R/∂a(b_i) a'(b_i), is
#
#     ∂R/∂β_j = Σ S_i     ∂R/∂γ_j = Σ S_i x̂_i     ∂R/∂Γ_kj = Σ_i A_ik dz_i     ∂R/∂A_ik = Σ_j dz_ij Γ_kj
#     dz_i = (γ_j/s) ( S_i - (∂R/∂β_j)/N - x̂_i (∂R/∂γ_j)/(N - ddof) )
#
# whose last two terms are what flows through μ and through s: hand-written versions most often forget them.
#
# Conventions:
#     eps is inside the root. ddof = 1, eps = 0 is R's `scale`; ddof = 0, eps = 1e-5 is PyTorch's layer.
#     The loss is a mean, so that 1/N is in every gradient. "squared" is Σ(y - η)²/N, without a half;
#     "logistic" (y from 0 to 1) and "poisson" (y of at least 0) are minus the log-likelihood, η being the log-odds or
#     the log of the rate; "poisson" leaves out log y!.
#     The slope of ReLU at 0 is 0, that of leaky ReLU 1/100.
#     normalization = "frozen" has μ and s² - eps given, as at inference: nothing flows through them, dz = (γ/s) S.
#     normalization = "none" is b = z, without γ and β, and dz = S.
#
# To be read; the matrix form is many times faster in R.
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

# A layer's output (N,p_out) of its input A (N,p_in), with A, a'(b), x̂ and s for its backward pass.
forward <- function(A, G, gamma, beta, given, activation, normalization, ddof, eps) {
  N <- nrow(A)
  chosen <- ACTIVATIONS[[activation]]
  out <- slope <- Xhat <- matrix(0, N, ncol(G))
  s <- numeric(ncol(G))
  for (j in seq_len(ncol(G))) {
    z <- numeric(N)
    for (i in seq_len(N)) z[i] <- sum(A[i, ] * G[, j])
    b <- z
    if (normalization != "none") {
      mu <- if (normalization == "batch") mean(z) else given[[1]][j]
      variance <- if (normalization == "batch") sum((z - mu)^2) / (N - ddof) else given[[2]][j]
      s[j] <- sqrt(variance + eps)
      Xhat[, j] <- (z - mu) / s[j]
      b <- gamma[j] * Xhat[, j] + beta[j]
    }
    out[, j] <- chosen$a(b)
    slope[, j] <- chosen$da(b, out[, j])
  }
  list(out = out, slope = slope, A = A, Xhat = Xhat, s = s)
}

# ∂R/∂Γ, ∂R/∂γ, ∂R/∂β and ∂R/∂A (N,p_in) of a layer, from dA = ∂R/∂(its output) (N,p_out).
backward <- function(dA, layer, G, gamma, normalization, ddof) {
  N <- nrow(dA)
  dG <- G * 0
  dgamma <- dbeta <- numeric(ncol(G))
  below <- layer$A * 0
  for (j in seq_len(ncol(G))) {
    dz <- dA[, j] * layer$slope[, j] # S
    if (normalization != "none") {
      xhat <- layer$Xhat[, j]
      dbeta[j] <- sum(dz)
      dgamma[j] <- sum(dz * xhat)
      if (normalization == "batch") {
        dz <- dz - xhat * dgamma[j] / (N - ddof)
        # The mean is dbeta[j] / N, since x̂ adds up to 0. Taken here it makes dz add up to 0 to rounding; what is left
        # of that sum would be multiplied by any offset of A in Σ A_ik dz_i.
        dz <- dz - mean(dz)
      }
      dz <- gamma[j] / layer$s[j] * dz
    }
    for (k in seq_len(nrow(G))) {
      dG[k, j] <- sum(layer$A[, k] * dz)
      below[, k] <- below[, k] + dz * G[k, j]
    }
  }
  list(dG = dG, dgamma = dgamma, dbeta = dbeta, dA = below)
}
