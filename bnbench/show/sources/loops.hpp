// Loss and gradients of a network with batch normalisation, node by node: loops in C++.
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
//     eps is inside the root. ddof = 0, eps = 1e-5 is PyTorch's layer; ddof = 1, eps = 0 is R's `scale`.
//     The loss is a mean, so that 1/N is in every gradient. squared is Σ(y - η)²/N, without a half;
//     logistic (y from 0 to 1) and poisson (y of at least 0) are minus the log-likelihood, η being the log-odds or
//     the log of the rate; poisson leaves out log y!.
//     The slope of ReLU at 0 is 0, that of leaky ReLU 1/100.
//     Normalization::frozen has μ and s² - eps given, as at inference: nothing flows through them, dz = (γ/s) S.
//     Normalization::none is b = z, without γ and β, and dz = S.
//
// Needs C++17 and nothing else: a header.
//
// SPDX-FileCopyrightText: 2026 The bnbench authors
// SPDX-License-Identifier: MIT

#pragma once
#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <vector>

namespace batchnorm {

using Vector = std::vector<double>;

struct Matrix {
  std::size_t rows = 0, columns = 0;
  Vector entries;  // row by row

  Matrix(std::size_t rows = 0, std::size_t columns = 0) : rows(rows), columns(columns), entries(rows * columns) {}
  double &operator()(std::size_t i, std::size_t j) { return entries[i * columns + j]; }
  double operator()(std::size_t i, std::size_t j) const { return entries[i * columns + j]; }
};

enum class Activation { relu, sigmoid, tanh, gaussian, identity, softplus, leaky_relu };
enum class Normalization { batch, frozen, none };
enum class Loss { squared, logistic, poisson };

struct Conventions {
  Activation activation = Activation::relu;
  Normalization normalization = Normalization::batch;
  Loss loss = Loss::squared;
  int ddof = 0;
  double eps = 1e-5;
};

struct Layer {             // the parameters of a hidden layer, or their gradients
  Matrix G;                // Γ (p_in,p_out)
  Vector gamma, beta;      // γ and β (p_out); empty for Normalization::none. γ may be negative
  Vector mean, variance;   // μ and s² - eps (p_out), for Normalization::frozen alone
};

struct Gradients {
  double loss = 0;
  std::vector<Layer> layers;  // G, gamma and beta are those of the layers
  Vector G2;
};

inline double sigmoid(double b) { return 1 / (1 + std::exp(-b)); }
inline double softplus(double b) { return std::fmax(b, 0) + std::log1p(std::exp(-std::abs(b))); }

// a(b).
inline double value(Activation activation, double b) {
  switch (activation) {
    case Activation::relu: return b > 0 ? b : 0;
    case Activation::sigmoid: return sigmoid(b);
    case Activation::tanh: return std::tanh(b);
    case Activation::gaussian: return std::exp(-b * b / 2);
    case Activation::softplus: return softplus(b);
    case Activation::leaky_relu: return b > 0 ? b : 0.01 * b;
    default: return b;
  }
}

// a'(b), from b and v = a(b).
inline double slope(Activation activation, double b, double v) {
  switch (activation) {
    case Activation::relu: return b > 0;
    case Activation::sigmoid: return v * (1 - v);
    case Activation::tanh: return 1 - v * v;
    case Activation::gaussian: return -b * v;
    case Activation::softplus: return sigmoid(b);
    case Activation::leaky_relu: return b > 0 ? 1 : 0.01;
    default: return 1;
  }
}

// A row's loss, and into `slope` its derivative by η.
inline double row_loss(Loss loss, double y, double eta, double &slope) {
  switch (loss) {
    case Loss::logistic: slope = sigmoid(eta) - y; return softplus(eta) - y * eta;
    case Loss::poisson: slope = std::exp(eta) - y; return std::exp(eta) - y * eta;
    default: slope = 2 * (eta - y); return (y - eta) * (y - eta);
  }
}

struct Saved {  // of a layer's forward pass: its input A and, node by node (p_out,N), a(b), a'(b) and x̂; s (p_out)
  Matrix A, out, slopes, Xhat;
  Vector s;
};

inline Saved forward(const Matrix &A, const Layer &layer, const Conventions &c) {
  const std::size_t N = A.rows, p_in = A.columns, p_out = layer.G.columns;
  Saved saved{A, Matrix(p_out, N), Matrix(p_out, N), Matrix(p_out, N), Vector(p_out)};
  for (std::size_t j = 0; j < p_out; j++) {
    double *z = &saved.out(j, 0), *xhat = &saved.Xhat(j, 0), *slopes = &saved.slopes(j, 0);
    for (std::size_t i = 0; i < N; i++)
      for (std::size_t k = 0; k < p_in; k++) z[i] += A(i, k) * layer.G(k, j);
    if (c.normalization != Normalization::none) {
      double mu = 0, variance = 0;
      if (c.normalization == Normalization::batch) {
        for (std::size_t i = 0; i < N; i++) mu += z[i];
        mu /= N;
        for (std::size_t i = 0; i < N; i++) variance += (z[i] - mu) * (z[i] - mu);
        variance /= double(N) - c.ddof;
      } else {
        mu = layer.mean[j];
        variance = layer.variance[j];
      }
      saved.s[j] = std::sqrt(variance + c.eps);
      for (std::size_t i = 0; i < N; i++) {
        xhat[i] = (z[i] - mu) / saved.s[j];
        z[i] = layer.gamma[j] * xhat[i] + layer.beta[j];
      }
    }
    for (std::size_t i = 0; i < N; i++) {
      const double b = z[i];
      z[i] = value(c.activation, b);
      slopes[i] = slope(c.activation, b, z[i]);
    }
  }
  return saved;
}

// The gradients of a layer from dA = ∂R/∂a(b), node by node (p_out,N), which becomes ∂R/∂A (p_in,N) of its input.
inline Layer backward(Matrix &dA, const Saved &saved, const Layer &layer, const Conventions &c) {
  const Matrix &A = saved.A;
  const std::size_t N = A.rows, p_in = A.columns, p_out = layer.G.columns;
  Layer found;
  found.G = Matrix(p_in, p_out);
  Matrix below(p_in, N);
  for (std::size_t j = 0; j < p_out; j++) {
    double *dz = &dA(j, 0);
    const double *xhat = &saved.Xhat.entries[j * N];
    for (std::size_t i = 0; i < N; i++) dz[i] *= saved.slopes(j, i);  // S
    if (c.normalization != Normalization::none) {
      double dbeta = 0, dgamma = 0;
      for (std::size_t i = 0; i < N; i++) {
        dbeta += dz[i];
        dgamma += dz[i] * xhat[i];
      }
      found.beta.push_back(dbeta);
      found.gamma.push_back(dgamma);
      if (c.normalization == Normalization::batch) {
        double mean = 0;
        for (std::size_t i = 0; i < N; i++) {
          dz[i] -= xhat[i] * dgamma / (double(N) - c.ddof);
          mean += dz[i];
        }
        // The mean is dbeta/N, since x̂ adds up to 0. Taken here it makes dz add up to 0 to rounding; what is left of
        // that sum would be multiplied by any offset of A in Σ A_ik dz_i.
        mean /= N;
        for (std::size_t i = 0; i < N; i++) dz[i] -= mean;
      }
      for (std::size_t i = 0; i < N; i++) dz[i] *= layer.gamma[j] / saved.s[j];
    }
    for (std::size_t i = 0; i < N; i++)
      for (std::size_t k = 0; k < p_in; k++) {
        found.G(k, j) += A(i, k) * dz[i];
        below(k, i) += dz[i] * layer.G(k, j);
      }
  }
  dA = below;
  return found;
}

// The loss R and its gradients.
//
//   X, y    the data (N,p1) and (N)
//   layers  the hidden layers, the first with p1 inputs
//   G2      Γ2, of as many nodes as the last layer has
inline Gradients gradients(const Matrix &X, const Vector &y, const std::vector<Layer> &layers, const Vector &G2,
                           const Conventions &c = {}) {
  const std::size_t N = X.rows, p = G2.size();
  if (y.size() != N) throw std::invalid_argument("y needs a number for each row of X");
  if (c.normalization == Normalization::batch && double(N) <= c.ddof)
    throw std::invalid_argument("X needs more than ddof rows");

  std::vector<Saved> saved;
  Matrix A = X;
  for (const Layer &layer : layers) {
    saved.push_back(forward(A, layer, c));
    const Matrix &out = saved.back().out;
    A = Matrix(N, out.rows);
    for (std::size_t i = 0; i < N; i++)
      for (std::size_t j = 0; j < out.rows; j++) A(i, j) = out(j, i);
  }

  Gradients found;
  found.layers.resize(layers.size());
  found.G2.resize(p);
  Matrix dA(p, N);
  for (std::size_t i = 0; i < N; i++) {
    double eta = 0, r = 0;
    for (std::size_t j = 0; j < p; j++) eta += A(i, j) * G2[j];
    found.loss += row_loss(c.loss, y[i], eta, r) / N;
    r /= N;  // ∂R/∂η_i
    for (std::size_t j = 0; j < p; j++) {
      found.G2[j] += A(i, j) * r;
      dA(j, i) = r * G2[j];
    }
  }
  for (std::size_t l = layers.size(); l-- > 0;) found.layers[l] = backward(dA, saved[l], layers[l], c);
  return found;
}

}  // namespace batchnorm
