// The step in matrix form by Eigen: its two products, and between them columns, shared out to threads.
#include <Eigen/Dense>

#include "step.hpp"

using namespace Eigen;

// a(b) in place of b, and a'(b) into d.
template <class Column>
static void activate(long code, Column a, Column d) {
  using T = typename Column::Scalar;
  const T one = 1, leak = 0.01;
  switch (code) {
    case RELU:
      a = a.max(T(0));
      d = (a > T(0)).template cast<T>();
      break;
    case SIGMOID:
      a = (one + (-a).exp()).inverse();
      d = a * (one - a);
      break;
    case TANH:
      a = a.tanh();
      d = one - a.square();
      break;
    case GAUSSIAN:
      d = -a;
      a = (T(-0.5) * a.square()).exp();
      d *= a;
      break;
    case SOFTPLUS:
      d = (one + (-a).exp()).inverse();
      a = a.max(T(0)) + (-a.abs()).exp().log1p();
      break;
    case LEAKY_RELU:
      d = leak + (one - leak) * (a > T(0)).template cast<T>();
      a *= d;
      break;
    default:
      d.setOnes();
  }
}

template <class T>
static void step(Step<T> &p) {
  using Rows = Matrix<T, Dynamic, Dynamic, RowMajor>;
  using Columns = Matrix<T, Dynamic, Dynamic>;
  using Vector = Matrix<T, Dynamic, 1>;
  const long N = p.N, p1 = p.p1, p2 = p.p2;
  const Map<const Rows> X(p.X, N, p1), G1(p.G1, p1, p2);
  const Map<const Vector> y(p.y, N), G2(p.G2, p2), gamma(p.gamma, p2), beta(p.beta, p2);
  Map<Columns> Xhat(p.Xhat, p.normalize ? N : 0, p2), A(p.A, N, p2), D(p.D, N, p2);
  Map<Vector> e(p.e, N), s(p.s, p2), dgamma(p.dgamma, p2), dbeta(p.dbeta, p2), dG2(p.dG2, p2);
  Map<Rows> dG1(p.dG1, p1, p2);
  const auto sum = [](const auto &column) { return column.template cast<double>().sum(); };

  A.noalias() = X * G1;
#pragma omp parallel for if (N * p2 > SMALL)
  for (long j = 0; j < p2; j++) {
    auto b = A.col(j).array();
    if (p.normalize) {
      auto xhat = Xhat.col(j).array();
      xhat = b - T(sum(b) / N);
      s(j) = std::sqrt(xhat.template cast<double>().square().sum() / (N - p.ddof) + p.eps);
      xhat /= s(j);
      b = gamma(j) * xhat + beta(j);
    }
    activate(p.activation, b, D.col(j).array());
  }

  e = y;
  e.noalias() -= A * G2;
  p.loss = e.template cast<double>().squaredNorm() / N;
  dG2.noalias() = T(-2) / N * (A.transpose() * e);

#pragma omp parallel for if (N * p2 > SMALL)
  for (long j = 0; j < p2; j++) {
    auto dz = D.col(j).array();
    dz *= T(-2) / N * G2(j) * e.array();
    if (p.normalize) {
      const auto xhat = Xhat.col(j).array();
      dbeta(j) = sum(dz);
      dgamma(j) = sum(dz * xhat);
      dz -= xhat * T(dgamma(j) / (N - p.ddof));
      dz = gamma(j) / s(j) * (dz - T(sum(dz) / N));  // as a mean, so that a column adds up to 0
    }
  }
  dG1.noalias() = X.transpose() * D;
}

EXPORT_STEP
