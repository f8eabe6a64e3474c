// Loss and gradients of a network with batch normalisation, node by node: loops in C++ for R.
//
// For each node j of a hidden layer, whose input is A (N,p_in), X for the first layer:
//
//     z_i = Σ_k A_ik Γ_kj     x̂_i = (z_i - μ)/s     b_i = γ_j x̂_i + β_j     a(b_i)
//     μ = Σ z_i/N     s = sqrt( Σ (z_i - μ)²/(N - ddof) + eps )
//
// The head is η_i = Σ_j a(b_ij) Γ2_j. The backward pass, with S_i = ∂R/∂a(b_i) a'(b_i), is
//
//     ∂R/∂β_j = Σ S_i     ∂R/∂γ_j = Σ S_i x̂_i     ∂R/∂Γ_kj = Σ_i A_ik dz_i     ∂R/∂A_ik = Σ_j dz_ij Γ_kj
//     dz_i = (γ_j/s) ( S_i - (∂R/∂β_j)/N - x̂_i (∂R/∂γ_j)/(N - ddof) )
//
// whose last two terms are what flows through μ and through s: hand-written versions most often forget them.
//
// Conventions:
//     eps is inside the root. ddof = 1, eps = 0 is R's `scale`; ddof = 0, eps = 1e-5 is PyTorch's layer.
//     The loss is a mean, so that 1/N is in every gradient. "squared" is Σ(y - η)²/N, without a half;
//     "logistic" (y from 0 to 1) and "poisson" (y of at least 0) are minus the log-likelihood, η being the log-odds or
//     the log of the rate; "poisson" leaves out log y!.
//     The slope of ReLU at 0 is 0, that of leaky ReLU 1/100.
//     normalization = "frozen" has μ and s² - eps given, as at inference: nothing flows through them, dz = (γ/s) S.
//     normalization = "none" is b = z, without γ and β, and dz = S.
//
// Needs Rcpp. Rcpp::sourceCpp("FILE.cpp", echo = FALSE) compiles it and defines `gradients`.
//
// SPDX-FileCopyrightText: 2026 The bnbench authors
// SPDX-License-Identifier: MIT

#include <Rcpp.h>
#include <cmath>
#include <string>
using namespace Rcpp;

inline double sigmoid(double b) { return 1 / (1 + std::exp(-b)); }
inline double softplus(double b) { return std::fmax(b, 0) + std::log1p(std::exp(-std::abs(b))); }

// a(b).
double value(const std::string &activation, double b) {
  if (activation == "relu") return b > 0 ? b : 0;
  if (activation == "sigmoid") return sigmoid(b);
  if (activation == "tanh") return std::tanh(b);
  if (activation == "gaussian") return std::exp(-b * b / 2);
  if (activation == "softplus") return softplus(b);
  if (activation == "leaky-relu") return b > 0 ? b : 0.01 * b;
  return b;
}

// a'(b), from b and v = a(b).
double slope(const std::string &activation, double b, double v) {
  if (activation == "relu") return b > 0;
  if (activation == "sigmoid") return v * (1 - v);
  if (activation == "tanh") return 1 - v * v;
  if (activation == "gaussian") return -b * v;
  if (activation == "softplus") return sigmoid(b);
  if (activation == "leaky-relu") return b > 0 ? 1 : 0.01;
  return 1;
}

// A layer's output (N,p_out) of its input A (N,p_in), with A, a'(b), x̂ and s for its backward pass.
// [[Rcpp::export]]
List forward(NumericMatrix A, NumericMatrix G, Nullable<NumericVector> gamma, Nullable<NumericVector> beta,
             Nullable<List> given, std::string activation, std::string normalization, double ddof, double eps) {
  const int N = A.nrow(), p_in = A.ncol(), p_out = G.ncol();
  const bool normalized = normalization != "none", batch = normalization == "batch";
  NumericMatrix out(N, p_out), slopes(N, p_out), Xhat(N, p_out);
  NumericVector s(p_out), g, b, mean, variance;
  if (normalized) {
    g = gamma.get();
    b = beta.get();
    if (!batch) {
      List statistics(given.get());
      mean = statistics[0];
      variance = statistics[1];
    }
  }
  for (int j = 0; j < p_out; j++) {
    NumericMatrix::Column z = out(_, j), xhat = Xhat(_, j);
    for (int k = 0; k < p_in; k++)
      for (int i = 0; i < N; i++) z[i] += A(i, k) * G(k, j);
    if (normalized) {
      double mu = 0, squares = 0;
      if (batch) {
        for (int i = 0; i < N; i++) mu += z[i];
        mu /= N;
        for (int i = 0; i < N; i++) squares += (z[i] - mu) * (z[i] - mu);
        s[j] = std::sqrt(squares / (N - ddof) + eps);
      } else {
        mu = mean[j];
        s[j] = std::sqrt(variance[j] + eps);
      }
      for (int i = 0; i < N; i++) {
        xhat[i] = (z[i] - mu) / s[j];
        z[i] = g[j] * xhat[i] + b[j];
      }
    }
    for (int i = 0; i < N; i++) {
      const double bi = z[i];
      z[i] = value(activation, bi);
      slopes(i, j) = slope(activation, bi, z[i]);
    }
  }
  return List::create(_["out"] = out, _["slope"] = slopes, _["A"] = A, _["Xhat"] = Xhat, _["s"] = s);
}

// ∂R/∂Γ, ∂R/∂γ, ∂R/∂β and ∂R/∂A (N,p_in) of a layer, from dA = ∂R/∂(its output) (N,p_out).
// [[Rcpp::export]]
List backward(NumericMatrix dA, List layer, NumericMatrix G, Nullable<NumericVector> gamma, std::string normalization,
              double ddof) {
  const NumericMatrix A = layer["A"], slopes = layer["slope"], Xhat = layer["Xhat"];
  const NumericVector s = layer["s"];
  const int N = A.nrow(), p_in = A.ncol(), p_out = G.ncol();
  NumericMatrix dG(p_in, p_out), below(N, p_in);
  NumericVector dgamma(p_out), dbeta(p_out), dz(N);
  for (int j = 0; j < p_out; j++) {
    for (int i = 0; i < N; i++) dz[i] = dA(i, j) * slopes(i, j);  // S
    if (normalization != "none") {
      for (int i = 0; i < N; i++) {
        dbeta[j] += dz[i];
        dgamma[j] += dz[i] * Xhat(i, j);
      }
      if (normalization == "batch") {
        double mean = 0;
        for (int i = 0; i < N; i++) {
          dz[i] -= Xhat(i, j) * dgamma[j] / (N - ddof);
          mean += dz[i];
        }
        // The mean is dbeta[j]/N, since x̂ adds up to 0. Taken here it makes dz add up to 0 to rounding; what is left
        // of that sum would be multiplied by any offset of A in Σ A_ik dz_i.
        mean /= N;
        for (int i = 0; i < N; i++) dz[i] -= mean;
      }
      const double weight = NumericVector(gamma.get())[j] / s[j];
      for (int i = 0; i < N; i++) dz[i] *= weight;
    }
    for (int k = 0; k < p_in; k++)
      for (int i = 0; i < N; i++) {
        dG(k, j) += A(i, k) * dz[i];
        below(i, k) += dz[i] * G(k, j);
      }
  }
  return List::create(_["dG"] = dG, _["dgamma"] = dgamma, _["dbeta"] = dbeta, _["dA"] = below);
}

/*** R
softplus <- function(b) pmax(b, 0) + log1p(exp(-abs(b))) # log(1 + exp(b)), which never overflows

ACTIVATIONS <- c("relu", "sigmoid", "tanh", "gaussian", "identity", "softplus", "leaky-relu")
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
#   activation       one of ACTIVATIONS
#   normalization    "batch", "frozen" or "none"
#   ddof, eps        as above
#   loss             a name in LOSSES
#   statistics       for "frozen", list(mean, variance), vectors (p2); of several layers a list of them
gradients <- function(X, y, G1, gamma, beta, G2, activation = "relu", normalization = "batch", ddof = 0, eps = 1e-5,
                      loss = "squared", statistics = NULL) {
  N <- nrow(X)
  activation <- match.arg(activation, ACTIVATIONS)
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
*/
