// What both forms in C++ are given: sizes, conventions and the addresses of arrays, in the order of `Step` in peer_cpp.py.
#pragma once
#include <cstdint>

enum { RELU, SIGMOID, TANH, GAUSSIAN, IDENTITY, SOFTPLUS, LEAKY_RELU };  // as activations.CODES

template <class T>
struct Step {
  int64_t N, p1, p2, activation, normalize, ddof;
  double eps, loss;
  const T *X, *y, *G1, *gamma, *beta, *G2;  // X (N,p1) and G1 (p1,p2) row by row
  T *dG1, *dgamma, *dbeta, *dG2;
  T *Xhat, *A, *D, *e, *s;  // node by node (p2,N) three times, (N,), (p2,)
};

#define SMALL 20000  // multiply-adds of a product that one thread takes alone

// The functions that ctypes finds, for a `template <class T> void step(Step<T> &)`.
#define EXPORT_STEP                                                    \
  extern "C" void step_float64(Step<double> *at) { step<double>(*at); } \
  extern "C" void step_float32(Step<float> *at) { step<float>(*at); }
