"""Layers that are called in other ways than the course's: books, frameworks, languages; each as it was met, rewritten.

A second zoo beside layer_zoo's, of the same entries.
"""

import numpy as np
from layer_zoo import ZOO, right, wrong


class Tensor:
    """A tensor of nobody's library, which NumPy can read."""

    def __init__(self, data):
        self.data = np.asarray(data)
        self.shape = self.data.shape

    def __array__(self, dtype=None, copy=None):
        return np.array(self.data, dtype)


@right(eps=1e-7, eps_place="variance")
class a_books_class:
    def __init__(self, gamma, beta, momentum=0.9, running_mean=None, running_var=None):
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.running_mean, self.running_var = running_mean, running_var
        self.batch_size = self.xc = self.std = self.dgamma = self.dbeta = None

    def forward(self, x, train_flg=True):
        if self.running_mean is None:
            _N, D = x.shape
            self.running_mean, self.running_var = np.zeros(D), np.zeros(D)
        mu = x.mean(axis=0)
        xc = x - mu
        var = np.mean(xc**2, axis=0)
        std = np.sqrt(var + 10e-8)
        xn = xc / std
        self.batch_size, self.xc, self.xn, self.std = x.shape[0], xc, xn, std
        self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
        self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        return self.gamma * xn + self.beta

    def backward(self, dout):
        dbeta = dout.sum(axis=0)
        dgamma = np.sum(self.xn * dout, axis=0)
        dxn = self.gamma * dout
        dxc = dxn / self.std
        dstd = -np.sum((dxn * self.xc) / (self.std * self.std), axis=0)
        dvar = 0.5 * dstd / self.std
        dxc += (2.0 / self.batch_size) * self.xc * dvar
        dmu = np.sum(dxc, axis=0)
        dx = dxc - dmu / self.batch_size
        self.dgamma, self.dbeta = dgamma, dbeta
        return dx


@right(eps_place="variance", eps_argument=True)
class settings_in_a_dictionary:
    @staticmethod
    def forward(x, gamma, beta, bn_param):
        mode, eps, momentum = bn_param["mode"], bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
        _N, D = x.shape
        running_mean = bn_param.get("running_mean", np.zeros(D, dtype=x.dtype))
        running_var = bn_param.get("running_var", np.zeros(D, dtype=x.dtype))
        if mode != "train":
            raise ValueError(mode)
        mu, var = x.mean(0), x.var(0)
        bn_param["running_mean"] = momentum * running_mean + (1 - momentum) * mu
        bn_param["running_var"] = momentum * running_var + (1 - momentum) * var
        xh = (x - mu) / np.sqrt(var + eps)
        return gamma * xh + beta, (xh, var, eps, gamma)

    @staticmethod
    def backward(dout, cache):
        xh, var, eps, gamma = cache
        m = len(xh)
        dxh = gamma * dout
        return (
            (m * dxh - dxh.sum(0) - xh * (dxh * xh).sum(0)) / (m * np.sqrt(var + eps)),
            (dout * xh).sum(0),
            dout.sum(0),
        )


@right(eps_place="variance", eps_argument=True)
class with_running_statistics_and_a_training_flag:
    @staticmethod
    def forward(x, gamma, beta, running_mean, running_var, training, eps=1e-5, momentum=0.1):
        mean, var = (x.mean(0), x.var(0)) if training else (running_mean, running_var)
        xh = (x - mean) * (var + eps) ** -0.5
        return xh * gamma + beta, (xh, (var + eps) ** -0.5, gamma)

    @staticmethod
    def backward(dout, cache):
        xh, rstd, gamma = cache
        d = dout * gamma
        return rstd * (d - d.mean(0) - xh * (d * xh).mean(0)), (dout * xh).sum(0), dout.sum(0)


@right(eps_place="variance", eps=1e-5, remarks=("layer_zoo_calls.Tensor, read",))
class of_tensors_that_numpy_can_read:
    @staticmethod
    def forward(x, gamma, beta):
        x = np.asarray(x)
        s = np.sqrt(x.var(0) + 1e-5)
        xh = (x - x.mean(0)) / s
        return Tensor(gamma * xh + beta), (xh, s, gamma)

    @staticmethod
    def backward(dout, cache):
        xh, s, gamma = cache
        d = np.asarray(dout)
        return Tensor(gamma / s * (d - d.mean(0) - xh * (d * xh).mean(0))), Tensor((d * xh).sum(0)), Tensor(d.sum(0))


@right(eps_place="variance", eps=1e-5)
class lists_of_lists:
    @staticmethod
    def forward(x, gamma, beta):
        n, d = len(x), len(x[0])
        mu = [sum(x[i][j] for i in range(n)) / n for j in range(d)]
        var = [sum((x[i][j] - mu[j]) ** 2 for i in range(n)) / n for j in range(d)]
        out = [[gamma[j] * (x[i][j] - mu[j]) / (var[j] + 1e-5) ** 0.5 + beta[j] for j in range(d)] for i in range(n)]
        return out

    @staticmethod
    def backward(dout, x, gamma):
        n, d = len(x), len(x[0])
        dx = [[0.0] * d for _ in range(n)]
        dgamma, dbeta = [0.0] * d, [0.0] * d
        for j in range(d):
            mu = sum(x[i][j] for i in range(n)) / n
            s = (sum((x[i][j] - mu) ** 2 for i in range(n)) / n + 1e-5) ** 0.5
            xh = [(x[i][j] - mu) / s for i in range(n)]
            dbeta[j] = sum(dout[i][j] for i in range(n))
            dgamma[j] = sum(dout[i][j] * xh[i] for i in range(n))
            for i in range(n):
                dx[i][j] = gamma[j] / s * (dout[i][j] - dbeta[j] / n - xh[i] * dgamma[j] / n)
        return [dx, dgamma, dbeta]


@right(layout="CN", eps_place="variance", eps=1e-5)
class as_in_matlab:
    @staticmethod
    def forward(X, scale, offset):
        n = X.shape[1]
        mu = X @ np.ones((n, 1)) / n
        V = X - mu @ np.ones((1, n))
        v = np.sum(V**2, 1, keepdims=True) / n
        S = np.diag((v[:, 0] + 1e-5) ** -0.5)
        Xh = S @ V
        return np.diag(np.ravel(scale)) @ Xh + np.outer(np.ravel(offset), np.ones(n)), (S, V, v, Xh, scale)

    @staticmethod
    def backward(G, cache):
        S, V, v, Xh, scale = cache
        n = V.shape[1]
        one = np.ones((n, 1))
        Gs = np.diag(np.ravel(scale)) @ G
        s1, s2 = S, np.diag((v[:, 0] + 1e-5) ** -1.5)
        G1, G2 = s1 @ Gs, s2 @ Gs
        c = (G2 * V) @ one
        dX = G1 - G1 @ one @ one.T / n - V * (c @ one.T) / n
        return dX, (G * Xh) @ one, G @ one


@right(eps_place="variance", eps=1e-5)
class gradients_by_name:
    @staticmethod
    def forward(inputs, weight, bias):
        s = np.sqrt(inputs.var(0) + 1e-5)
        xh = (inputs - inputs.mean(0)) / s
        return weight * xh + bias, {"xh": xh, "s": s, "w": weight}

    @staticmethod
    def backward(grad_output, ctx):
        d = grad_output * ctx["w"]
        dx = (d - d.mean(0) - ctx["xh"] * (d * ctx["xh"]).mean(0)) / ctx["s"]
        return {"dgamma": (grad_output * ctx["xh"]).sum(0), "dbeta": grad_output.sum(0), "dx": dx}


@right(eps_place="variance", eps=1e-5, remarks=("in place 3",))
class dx_last:
    @staticmethod
    def forward(x, gamma, beta):
        s = np.sqrt(x.var(0) + 1e-5)
        xh = (x - x.mean(0)) / s
        return gamma * xh + beta, xh, s, gamma

    @staticmethod
    def backward(dout, cache):
        xh, s, gamma = cache
        dx = gamma / s * (dout - dout.mean(0) - xh * (dout * xh).mean(0))
        return (dout * xh).sum(0), dout.sum(0), dx


@right(layout="NCHW", eps_place="variance", eps=1e-5)
class images_with_wide_parameters:
    @staticmethod
    def forward(x, gamma, beta):
        mu = np.mean(x, axis=(0, 2, 3), keepdims=True)
        v = np.mean((x - mu) ** 2, axis=(0, 2, 3), keepdims=True)
        xh = (x - mu) / np.sqrt(v + 1e-5)
        return gamma[None, :, None, None] * xh + beta[None, :, None, None], (x, xh, mu, v, gamma)

    @staticmethod
    def backward(dout, cache):
        x, xh, mu, v, gamma = cache
        B, _C, H, W = x.shape
        m = B * H * W
        dl = dout * gamma[None, :, None, None]
        dv = (dl * (x - mu) * (-0.5) * (v + 1e-5) ** (-3 / 2)).sum(axis=(0, 2, 3), keepdims=True)
        dm = (dl * (-1 / np.sqrt(v + 1e-5))).sum(axis=(0, 2, 3), keepdims=True)
        dm = dm + dv * (x - mu).sum(axis=(0, 2, 3), keepdims=True) * (-2) / m
        dx = dl / np.sqrt(v + 1e-5) + dv * 2 * (x - mu) / m + dm / m
        return dx, (dout * xh).sum(axis=(0, 2, 3)), dout.sum(axis=(0, 2, 3))


@right(statistics="", ddof=None)
class statistics_of_each_image:
    @staticmethod
    def forward(x, gamma, beta):
        xc = x - x.mean((1, 2), keepdims=True)
        s = np.sqrt((xc**2).mean((1, 2), keepdims=True) + 1e-5)
        return gamma * xc / s + beta, (xc / s, s, gamma)

    @staticmethod
    def backward(dout, cache):
        xh, s, gamma = cache
        d = dout * gamma
        dx = (d - d.mean((1, 2), keepdims=True) - xh * (d * xh).mean((1, 2), keepdims=True)) / s
        return dx, (dout * xh).sum((0, 1, 2)), dout.sum((0, 1, 2))


ZOO[-1].layout = "NHWC"


@wrong("s' = sqrt(Σ(x-μ)²/(N·H·W-1) + 1e-5)", "1e-6", layout="NCHW")
class one_eps_outside_another_inside_and_n_for_n_minus_1:
    @staticmethod
    def forward(x, gamma, beta):
        n = x.size // x.shape[1]
        mean = x.sum((0, 2, 3), keepdims=True) / n
        variance = ((x - mean) ** 2).sum((0, 2, 3), keepdims=True) / (n - 1)
        xh = (x - mean) / (np.sqrt(variance) + 0.000001)
        w = gamma.reshape(1, -1, 1, 1)
        return w * xh + beta.reshape(1, -1, 1, 1), (x, xh, mean, variance, w)

    @staticmethod
    def backward(delta, cache):
        x, xh, mean, variance, w = cache
        n, axes = x.size // x.shape[1], (0, 2, 3)
        dg, db = (delta * xh).sum(axes), delta.sum(axes)
        delta = delta * w
        mean_delta = delta.sum(axes, keepdims=True) * (-1.0 / np.sqrt(variance + 0.00001))
        variance_delta = (delta * (x - mean)).sum(axes, keepdims=True) * -0.5 * (variance + 0.00001) ** (-3.0 / 2.0)
        return delta / np.sqrt(variance + 0.00001) + variance_delta * 2.0 * (x - mean) / n + mean_delta / n, dg, db


@wrong("γ is missing")
class a_class_that_forgets_gamma:
    def __init__(self, dim, eps=1e-5):
        self.W, self.b, self.epsilon = np.ones((1, dim)), np.zeros((1, dim)), eps

    def forward(self, X):
        self.X_shape = X.shape
        self.mu = np.mean(X, axis=0, keepdims=True)
        self.s = np.sqrt(np.var(X, axis=0, keepdims=True) + self.epsilon)
        self.xh = (X - self.mu) / self.s
        return self.W * self.xh + self.b

    def backward(self, dY):
        self.dW, self.db = (dY * self.xh).sum(0, keepdims=True), dY.sum(0, keepdims=True)
        return (dY - dY.mean(0) - self.xh * (dY * self.xh).mean(0)) / self.s


@wrong("statistics that are given")
class running_forward_in_a_class:
    def __init__(self, n):
        self.m, self.v = np.linspace(0.1, 0.5, n), np.linspace(0.8, 1.9, n)

    def forward(self, x, gamma, beta):
        self.x, self.gamma = x, gamma
        self.m, self.v = 0.9 * self.m + 0.1 * self.m, 0.9 * self.v + 0.1 * self.v
        return gamma * (x - self.m) / np.sqrt(self.v + 1e-5) + beta

    def backward(self, dout):
        x = self.x
        s = np.sqrt(x.var(0) + 1e-5)
        xh = (x - x.mean(0)) / s
        return self.gamma / s * (dout - dout.mean(0) - xh * (dout * xh).mean(0))


@wrong("ddof", "Σ(x-μ)²/(N-1)")
class another_divisor_in_the_backward:
    @staticmethod
    def forward(x, gamma, beta):
        xh = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        return gamma * xh + beta, (x, gamma)

    @staticmethod
    def backward(dout, cache):
        x, gamma = cache
        n, sd = len(x), np.sqrt(x.var(0, ddof=1) + 1e-5)
        xh = (x - x.mean(0)) / sd
        dx = gamma / sd * (dout - dout.mean(0) - xh * (dout * xh).sum(0) / (n - 1))
        return dx, (dout * xh).sum(0), dout.sum(0)


@wrong("sum runs over all entries")
class a_parameter_sum_without_its_axis:
    @staticmethod
    def forward(x, gamma, beta):
        s = np.sqrt(x.var(0) + 1e-5)
        return gamma * (x - x.mean(0)) / s + beta, ((x - x.mean(0)) / s, s, gamma)

    @staticmethod
    def backward(dout, cache):
        xh, s, gamma = cache
        return gamma / s * (dout - dout.mean(0) - xh * (dout * xh).mean(0)), np.sum(dout * xh), dout.sum(0)


def _normal(x, gamma, beta, eps=1e-5):
    s = np.sqrt(x.var(0) + eps)
    xh = (x - x.mean(0)) / s
    return gamma * xh + beta, (xh, s, gamma)


def _gradients(dout, cache):
    xh, s, gamma = cache
    dx = gamma / s * (dout - dout.mean(0) - xh * (dout * xh).mean(0))
    return dx, (dout * xh).sum(0), dout.sum(0)


@right(ddof=0, gamma=True, beta=True)
class parameters_in_a_dictionary:
    def __init__(self, num_features, eps=1e-5):
        self.params = {"W": np.ones(num_features), "b": np.zeros(num_features)}
        self.grads, self.eps = {}, eps

    def forward(self, x):
        out, self.cache = _normal(x, self.params["W"], self.params["b"], self.eps)
        return out

    def backward(self, dout):
        dx, self.grads["W"], self.grads["b"] = _gradients(dout, self.cache)
        return dx


@right(gamma=False, beta=False)
class fixed_parameters_whose_gradients_are_given:
    @staticmethod
    def forward(x):
        return _normal(x, 1.0, 0.0)

    @staticmethod
    def backward(dout, cache):
        return _gradients(dout, cache)


@right(eps_place="sd", eps=1e-3)
class propagated_by_other_names:
    def __init__(self, dim):
        self.scale, self.shift = np.ones(dim), np.zeros(dim)

    def fprop(self, inputs):
        self.sd = inputs.std(0)
        self.h = (inputs - inputs.mean(0)) / (self.sd + 1e-3)
        return self.scale * self.h + self.shift

    def bprop(self, grads):
        d, s = grads * self.scale, self.sd + 1e-3
        self.dscale, self.dshift = (grads * self.h).sum(0), grads.sum(0)
        return (d - d.mean(0)) / s - self.h * (d * self.h).mean(0) / self.sd


@right(eps=1e-5)
class called_as_a_function:
    def __init__(self, d):
        self.W, self.b, self.dW, self.db = np.ones(d), np.zeros(d), np.zeros(d), np.zeros(d)

    def __call__(self, x):
        out, self.cache = _normal(x, self.W, self.b)
        return out

    def backward(self, dy):
        dx, dW, db = _gradients(dy, self.cache)
        self.dW += dW
        self.db += db
        return dx


@right(remarks=("backward gives dbeta before dgamma",))
class beta_first_by_its_names:
    @staticmethod
    def forward(x, gamma, beta):
        return _normal(x, gamma, beta)

    @staticmethod
    def backward(dout, cache):
        dx, dg, db = _gradients(dout, cache)
        return dx, db, dg


@wrong("dgamma and dbeta are swapped")
class swapped_behind_the_right_names:
    @staticmethod
    def forward(x, gamma, beta):
        return _normal(x, gamma, beta)

    @staticmethod
    def backward(dout, cache):
        dx, dbeta, dgamma = _gradients(dout, cache)
        return dx, dgamma, dbeta


@right(remarks=("forward gives its output in place 2",))
class the_cache_before_the_output:
    @staticmethod
    def forward(x, gamma, beta):
        return _normal(x, gamma, beta)[::-1]

    @staticmethod
    def backward(dout, cache):
        return _gradients(dout, cache)


@wrong("runs over each row's nodes (axis=1)")
class a_mean_over_the_other_axis:
    @staticmethod
    def forward(x, gamma, beta):
        return _normal(x, gamma, beta)

    @staticmethod
    def backward(dout, cache):
        xh, s, gamma = cache
        d = dout * gamma
        return (d - d.mean(1, keepdims=True) - xh * (d * xh).mean(0)) / s, (dout * xh).sum(0), dout.sum(0)
