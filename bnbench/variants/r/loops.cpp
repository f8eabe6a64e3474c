// The step node by node, for Rcpp.
#include <Rcpp.h>
#include <cmath>
#include <vector>
using namespace Rcpp;

static inline double value(int code, double b) {
  switch (code) {
    case 0: return b > 0 ? b : 0;
    case 1: return 1 / (1 + std::exp(-b));
    case 2: return std::tanh(b);
    case 3: return std::exp(-0.5 * b * b);
    case 5: return (b > 0 ? b : 0) + std::log1p(std::exp(-std::abs(b)));
    case 6: return b > 0 ? b : 0.01 * b;
    default: return b;
  }
}

static inline double slope(int code, double b, double v) {
  switch (code) {
    case 0: return b > 0 ? 1 : 0;
    case 1: return v * (1 - v);
    case 2: return 1 - v * v;
    case 3: return -b * v;
    case 5: return 1 / (1 + std::exp(-b));
    case 6: return b > 0 ? 1 : 0.01;
    default: return 1;
  }
}

// [[Rcpp::export]]
List step_loops(NumericMatrix X, NumericVector y, NumericMatrix G1, NumericVector gamma, NumericVector beta,
                NumericVector G2, int code, bool normalize, double ddof, double eps) {
  const int N = X.nrow(), p1 = X.ncol(), p2 = G1.ncol();
  NumericMatrix Xhat(N, p2), A(N, p2), D(N, p2), dG1(p1, p2);
  NumericVector dgamma(p2), dbeta(p2), dG2(p2);
  std::vector<double> s(p2, 1.0), e(y.begin(), y.end()), dz(N);

  for (int j = 0; j < p2; j++) {
    double *z = &Xhat(0, j);
    for (int k = 0; k < p1; k++) {
      const double *x = &X(0, k);
      const double g = G1(k, j);
      for (int i = 0; i < N; i++) z[i] += x[i] * g;
    }
    double mu = 0, total = 0;
    if (normalize) {
      for (int i = 0; i < N; i++) mu += z[i];
      mu /= N;
      for (int i = 0; i < N; i++) total += (z[i] - mu) * (z[i] - mu);
      s[j] = std::sqrt(total / (N - ddof) + eps);
    }
    for (int i = 0; i < N; i++) {
      double b = z[i];
      if (normalize) {
        z[i] = (z[i] - mu) / s[j];
        b = gamma[j] * z[i] + beta[j];
      }
      A(i, j) = value(code, b);
      D(i, j) = slope(code, b, A(i, j));
      e[i] -= A(i, j) * G2[j];
    }
  }
  double loss = 0;
  for (int i = 0; i < N; i++) loss += e[i] * e[i];

  for (int j = 0; j < p2; j++) {
    double db = 0, dg = 0, d2 = 0;
    for (int i = 0; i < N; i++) {
      dz[i] = -2.0 / N * e[i] * G2[j] * D(i, j);
      db += dz[i];
      dg += dz[i] * Xhat(i, j);
      d2 += A(i, j) * e[i];
    }
    dG2[j] = -2.0 / N * d2;
    if (normalize) {
      dbeta[j] = db;
      dgamma[j] = dg;
      const double mean = db / N, part = dg / (N - ddof), weight = gamma[j] / s[j];
      double left = 0;  // by rounding; X may have an offset that multiplies it
      for (int i = 0; i < N; i++) {
        dz[i] = weight * (dz[i] - mean - Xhat(i, j) * part);
        left += dz[i];
      }
      left /= N;
      for (int i = 0; i < N; i++) dz[i] -= left;
    }
    for (int k = 0; k < p1; k++) {
      const double *x = &X(0, k);
      double total = 0;
      for (int i = 0; i < N; i++) total += x[i] * dz[i];
      dG1(k, j) = total;
    }
  }
  return List::create(loss / N, dG1, dgamma, dbeta, dG2);
}
