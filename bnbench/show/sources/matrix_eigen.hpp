// Loss and gradients of a network with batch normalisation, in Eigen: the matrix form.
//
// Every hidden layer takes A (N,p_in), which is X for the first, and gives a(B) (N,p_out):
//
//     Z = A Γ     X̂ = (Z - μ)/s     B = γ ⊙ X̂ + β     a(B)
//     μ_j = the mean of column j of Z     s_j = sqrt( Σ_i (Z_ij - μ_j)²/(N - ddof) + eps )
//
// The head is η = A Γ2, with A of the last layer. The backward pass, with S = ∂R/∂a(B) ⊙ a'(B), is
//
//     ∂R/∂β = 1ᵀ S     ∂R/∂γ = 1ᵀ (S ⊙ X̂)     ∂R/∂Γ = Aᵀ dZ     ∂R/∂A = dZ Γᵀ
//     dZ = (γ/s) ⊙ ( S - 1 (∂R/∂β)ᵀ/N - X̂ ⊙ (∂R/∂γ)ᵀ/(N - ddof) )
//
// whose last two terms are what flows through μ and through s: hand-written versions most often forget them.
//
// Conventions:
//     eps is inside the root. ddof = 0, eps = 1e-5 is PyTorch's layer; ddof = 1, eps = 0 is R's `scale`.
//     The loss is a mean, so that 1/N is in every gradient. squared is Σ(y - η)²/N, without a half;
//     logistic (y from 0 to 1) and poisson (y of at least 0) are minus the log-likelihood, η being the log-odds or
//     the log of the rate; poisson leaves out log y!.
//     The slope of ReLU at 0 is 0, that of leaky ReLU 1/100.
//     Normalization::frozen has μ and s² - eps given, as at inference: nothing flows through them, dZ = (γ/s) ⊙ S.
//     Normalization::none is B = Z, without γ and β, and dZ = S.
//
// Needs C++17 and Eigen 3: a header.
//
// SPDX-FileCopyrightText: 2026 The bnbench authors
// SPDX-License-Identifier: MIT

#pragma once
#include <Eigen/Dense>
#include <stdexcept>
#include <vector>

namespace batchnorm {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;
using Array = Eigen::ArrayXXd;  // of which * and / are entry by entry

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

struct Layer {            // the parameters of a hidden layer, or their gradients
  Matrix G;               // Γ (p_in,p_out)
  Vector gamma, beta;     // γ and β (p_out); empty for Normalization::none. γ may be negative
  Vector mean, variance;  // μ and s² - eps (p_out), for Normalization::frozen alone
};

struct Gradients {
  double loss = 0;
  std::vector<Layer> layers;  // G, gamma and beta are those of the layers
  Vector G2;
};

template <class T>
auto sigmoid(const T &b) { return (1 + (-b).exp()).inverse(); }
template <class T>
auto softplus(const T &b) { return b.max(0.0) + (-b.abs()).exp().log1p(); }  // which never overflows

// a(b).
inline Array value(Activation activation, const Array &b) {
  switch (activation) {
    case Activation::relu: return b.max(0.0);
    case Activation::sigmoid: return sigmoid(b);
    case Activation::tanh: return b.tanh();
    case Activation::gaussian: return (-b.square() / 2).exp();
    case Activation::softplus: return softplus(b);
    case Activation::leaky_relu: return (b > 0).select(b, 0.01 * b);
    default: return b;
  }
}

// a'(b), from b and v = a(b).
inline Array slope(Activation activation, const Array &b, const Array &v) {
  const Array one = Array::Ones(b.rows(), b.cols());
  switch (activation) {
    case Activation::relu: return (b > 0).cast<double>();
    case Activation::sigmoid: return v * (1 - v);
    case Activation::tanh: return 1 - v.square();
    case Activation::gaussian: return -b * v;
    case Activation::softplus: return sigmoid(b);
    case Activation::leaky_relu: return (b > 0).select(one, 0.01 * one);
    default: return one;
  }
}

// R, and into r its derivative by η (N).
inline double risk(Loss loss, const Eigen::ArrayXd &y, const Eigen::ArrayXd &eta, Vector &r) {
  const double N = y.size();
  switch (loss) {
    case Loss::logistic: r = (sigmoid(eta) - y) / N; return (softplus(eta) - y * eta).mean();
    case Loss::poisson: r = (eta.exp() - y) / N; return (eta.exp() - y * eta).mean();
    default: r = 2 * (eta - y) / N; return (y - eta).square().mean();
  }
}

struct Saved {  // of a layer's forward pass: its input A (N,p_in), a(B), a'(B) and X̂ (N,p_out), s (p_out)
  Matrix A, out;
  Array slopes, Xhat;
  Eigen::ArrayXd s;
};

inline Saved forward(const Matrix &A, const Layer &layer, const Conventions &c) {
  Saved saved;
  saved.A = A;
  Array B = (A * layer.G).array();  // Z
  if (c.normalization != Normalization::none) {
    const bool batch = c.normalization == Normalization::batch;
    const Eigen::ArrayXd mu = batch ? Vector(B.colwise().mean().matrix()) : layer.mean;
    B.rowwise() -= mu.transpose();
    const Eigen::ArrayXd squares = B.square().colwise().sum();
    saved.s = (batch ? Eigen::ArrayXd(squares / (double(A.rows()) - c.ddof)) : layer.variance.array()) + c.eps;
    saved.s = saved.s.sqrt();
    B.rowwise() /= saved.s.transpose();
    saved.Xhat = B;
    B.rowwise() *= layer.gamma.array().transpose();
    B.rowwise() += layer.beta.array().transpose();
  }
  saved.out = value(c.activation, B).matrix();
  saved.slopes = slope(c.activation, B, saved.out.array());
  return saved;
}

// The gradients of a layer from dA = ∂R/∂a(B) (N,p_out), which becomes ∂R/∂A (N,p_in) of its input.
inline Layer backward(Matrix &dA, const Saved &saved, const Layer &layer, const Conventions &c) {
  Layer found;
  Array D = dA.array() * saved.slopes;  // S
  if (c.normalization != Normalization::none) {
    found.beta = D.colwise().sum().transpose();
    found.gamma = (D * saved.Xhat).colwise().sum().transpose();
    if (c.normalization == Normalization::batch) {
      D -= saved.Xhat.rowwise() * (found.gamma.array() / (double(D.rows()) - c.ddof)).transpose();
      // The mean of D is dbeta/N, since the columns of X̂ add up to 0. Taken of D it makes those of dZ add up to 0 to
      // rounding; what is left of their sums would be multiplied by any offset of A in Aᵀ dZ.
      const Eigen::ArrayXd mean = D.colwise().mean();
      D.rowwise() -= mean.transpose();
    }
    D.rowwise() *= (layer.gamma.array() / saved.s).transpose();  // dZ
  }
  found.G = saved.A.transpose() * D.matrix();
  dA = D.matrix() * layer.G.transpose();
  return found;
}

// The loss R and its gradients.
//
//   X, y    the data (N,p1) and (N)
//   layers  the hidden layers, the first with p1 inputs
//   G2      Γ2, of as many nodes as the last layer has
inline Gradients gradients(const Matrix &X, const Vector &y, const std::vector<Layer> &layers, const Vector &G2,
                           const Conventions &c = {}) {
  if (y.size() != X.rows()) throw std::invalid_argument("y needs a number for each row of X");
  if (c.normalization == Normalization::batch && X.rows() <= c.ddof)
    throw std::invalid_argument("X needs more than ddof rows");

  std::vector<Saved> saved;
  Matrix A = X;
  for (const Layer &layer : layers) {
    saved.push_back(forward(A, layer, c));
    A = saved.back().out;
  }

  Gradients found;
  found.layers.resize(layers.size());
  Vector r;
  found.loss = risk(c.loss, y.array(), (A * G2).array(), r);
  found.G2 = A.transpose() * r;
  Matrix dA = r * G2.transpose();
  for (std::size_t l = layers.size(); l-- > 0;) found.layers[l] = backward(dA, saved[l], layers[l], c);
  return found;
}

}  // namespace batchnorm
