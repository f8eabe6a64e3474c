// The step node by node: plain loops, the nodes shared out to threads.
#ifndef __FAST_MATH__
#define __FAST_MATH__  // glibc then declares exp and tanh of a whole vector; it changes nothing else here
#endif
#include <cmath>
#include <vector>

#include "step.hpp"

template <class T, class Value, class Slope>
static inline void apply(long N, T *__restrict a, T *__restrict d, Value value, Slope slope) {
  for (long i = 0; i < N; i++) {
    const T b = a[i], v = value(b);
    a[i] = v;
    d[i] = slope(b, v);
  }
}

// a(b) in place of b, and a'(b) into d.
template <class T>
static void activate(long code, long N, T *a, T *d) {
  const T one = 1, half = 0.5, leak = 0.01;
  const auto sigmoid = [=](T b) { return one / (one + std::exp(-b)); };
  switch (code) {
    case RELU: return apply(N, a, d, [](T b) { return b < 0 ? 0 : b; }, [=](T, T v) { return v > 0 ? one : 0; });
    case SIGMOID: return apply(N, a, d, sigmoid, [=](T, T v) { return v * (one - v); });
    case TANH: return apply(N, a, d, [](T b) { return std::tanh(b); }, [=](T, T v) { return one - v * v; });
    case GAUSSIAN:
      return apply(N, a, d, [=](T b) { return std::exp(-half * b * b); }, [](T b, T v) { return -b * v; });
    case SOFTPLUS:
      return apply(N, a, d, [](T b) { return (b < 0 ? 0 : b) + std::log1p(std::exp(-std::abs(b))); },
                   [=](T b, T) { return sigmoid(b); });
    case LEAKY_RELU:
      return apply(N, a, d, [=](T b) { return b > 0 ? b : leak * b; }, [=](T, T v) { return v > 0 ? one : leak; });
    default: return apply(N, a, d, [](T b) { return b; }, [=](T, T) { return one; });
  }
}

template <class T>
static void step(Step<T> &p) {
  const long N = p.N, p1 = p.p1, p2 = p.p2;
  const T *__restrict X = p.X, *__restrict G2 = p.G2;
  double loss = 0;
#pragma omp parallel if (N * p1 * p2 > SMALL)
  {
    std::vector<T> column(p1);  // of G1, then of its gradient

#pragma omp for
    for (long j = 0; j < p2; j++) {
      T *__restrict z = p.A + j * N, *__restrict xhat = p.Xhat + j * N;
      for (long k = 0; k < p1; k++) column[k] = p.G1[k * p2 + j];
      for (long i = 0; i < N; i++) {
        T total = 0;
        for (long k = 0; k < p1; k++) total += X[i * p1 + k] * column[k];
        z[i] = total;
      }
      if (p.normalize) {
        double sum = 0, squares = 0;
        for (long i = 0; i < N; i++) sum += z[i];
        const T mu = sum / N;
        for (long i = 0; i < N; i++) squares += double(z[i] - mu) * double(z[i] - mu);
        const T s = p.s[j] = std::sqrt(squares / (N - p.ddof) + p.eps);
        for (long i = 0; i < N; i++) {
          xhat[i] = (z[i] - mu) / s;
          z[i] = p.gamma[j] * xhat[i] + p.beta[j];
        }
      }
      activate(p.activation, N, z, p.D + j * N);
    }

    const long rows = 1024;
#pragma omp for
    for (long first = 0; first < N; first += rows) {
      const long last = first + rows < N ? first + rows : N;
      for (long i = first; i < last; i++) p.e[i] = p.y[i];
      for (long j = 0; j < p2; j++)
        for (long i = first; i < last; i++) p.e[i] -= p.A[j * N + i] * G2[j];
    }

#pragma omp for nowait
    for (long j = 0; j < p2; j++) {
      T *__restrict dz = p.D + j * N;
      const T *__restrict xhat = p.Xhat + j * N, *__restrict a = p.A + j * N, *__restrict e = p.e;
      const T scale = T(-2) / N * G2[j];
      double db = 0, dg = 0, d2 = 0;
      for (long i = 0; i < N; i++) {
        dz[i] *= scale * e[i];
        db += dz[i];
        d2 += a[i] * e[i];
      }
      p.dG2[j] = -2.0 / N * d2;
      T left = 0;
      if (p.normalize) {
        for (long i = 0; i < N; i++) dg += dz[i] * xhat[i];
        p.dbeta[j] = db;
        p.dgamma[j] = dg;
        const T mean = db / N, part = dg / (N - p.ddof), weight = p.gamma[j] / p.s[j];
        double sum = 0;
        for (long i = 0; i < N; i++) {
          dz[i] = weight * (dz[i] - mean - xhat[i] * part);
          sum += dz[i];
        }
        left = sum / N;  // by rounding; X may have an offset that multiplies it
      }
      for (long k = 0; k < p1; k++) column[k] = 0;
      for (long i = 0; i < N; i++) {
        const T d = dz[i] - left;
        for (long k = 0; k < p1; k++) column[k] += X[i * p1 + k] * d;
      }
      for (long k = 0; k < p1; k++) p.dG1[k * p2 + j] = column[k];
    }
  }
  for (long i = 0; i < N; i++) loss += double(p.e[i]) * p.e[i];
  p.loss = loss / N;
}

EXPORT_STEP
