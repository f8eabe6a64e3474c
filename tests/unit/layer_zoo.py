"""Layers as people write them, right and wrong, each in a style of its own, with what is to be said of it.

`@right(...)` and `@wrong(...)` take a class with methods forward and backward, static or with state: `about` is part of
what its conventions are, `terms` what dx is read as, `says` what its sentences hold.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Entry:
    layer: type
    correct: bool
    layout: str = "NC"
    about: dict = field(default_factory=dict)
    terms: dict = field(default_factory=dict)
    says: tuple = ()
    remarks: tuple = ()


ZOO: list[Entry] = []


def right(**about):
    def keep(layer):
        options = {k: about.pop(k) for k in ("layout", "remarks", "terms") if k in about}
        ZOO.append(Entry(layer, True, about={"statistics": "batch", "ddof": 0} | about, **options))
        return layer

    return keep


def wrong(*says, **options):
    def keep(layer):
        ZOO.append(Entry(layer, False, says=says, **options))
        return layer

    return keep


ONE = {"a": "1", "b": "1", "c": "1"}

# --- right


@right(eps_place="variance", eps_argument=True, terms=ONE)
class staged_as_in_the_course:
    @staticmethod
    def forward(x, gamma, beta, eps):
        N, _D = x.shape
        mu = 1.0 / N * np.sum(x, axis=0)
        xmu = x - mu
        sq = xmu**2
        var = 1.0 / N * np.sum(sq, axis=0)
        sqrtvar = np.sqrt(var + eps)
        ivar = 1.0 / sqrtvar
        xhat = xmu * ivar
        out = gamma * xhat + beta
        return out, (xhat, gamma, xmu, ivar, sqrtvar, var, eps)

    @staticmethod
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        divar = np.sum(dxhat * xmu, axis=0)
        dxmu1 = dxhat * ivar
        dsqrtvar = -1.0 / (sqrtvar**2) * divar
        dvar = 0.5 * 1.0 / np.sqrt(var + eps) * dsqrtvar
        dsq = 1.0 / N * np.ones((N, D)) * dvar
        dxmu2 = 2 * xmu * dsq
        dx1 = dxmu1 + dxmu2
        dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
        dx2 = 1.0 / N * np.ones((N, D)) * dmu
        return dx1 + dx2, dgamma, dbeta


@right(eps_place="variance", eps=1e-6, terms=ONE)
class textbook_with_eps_built_in:
    @staticmethod
    def forward(X, gamma, beta):
        mean = X.mean(axis=0)
        var = ((X - mean) ** 2).mean(axis=0)
        X_hat = (X - mean) / np.sqrt(var + 1e-6)
        return gamma * X_hat + beta, (X, X_hat, mean, var, gamma)

    @staticmethod
    def backward(dY, cache):
        X, X_hat, mean, var, gamma = cache
        m = X.shape[0]
        inv = 1.0 / np.sqrt(var + 1e-6)
        d_xhat = dY * gamma
        d_var = np.sum(d_xhat * (X - mean) * -0.5 * inv**3, axis=0)
        d_mean = np.sum(d_xhat * -inv, axis=0) + d_var * np.mean(-2.0 * (X - mean), axis=0)
        return d_xhat * inv + d_var * 2.0 * (X - mean) / m + d_mean / m, (dY * X_hat).sum(axis=0), dY.sum(axis=0)


@right(eps_place="variance", eps_argument=True, terms=ONE)
class closed_form:
    @staticmethod
    def forward(x, g, b, eps=1e-5):
        mu, var = x.mean(0), x.var(0)
        inv = (var + eps) ** -0.5
        xn = (x - mu) * inv
        return g * xn + b, (xn, g, inv)

    @staticmethod
    def backward(dout, cache):
        xn, g, inv = cache
        N = len(dout)
        dx = (1.0 / N) * g * inv * (N * dout - dout.sum(0) - xn * (dout * xn).sum(0))
        return dx, (dout * xn).sum(0), dout.sum(0)


@right(eps_place="variance", eps=1e-5, ddof=1, activation="tanh", terms={"a": "1", "b": "1", "c": "N/(N-1)"})
class bessels_variance_and_a_tanh:
    @staticmethod
    def forward(x, gamma, beta):
        v = x.var(axis=0, ddof=1)
        s = np.sqrt(v + 1e-5)
        xh = (x - x.mean(axis=0)) / s
        out = np.tanh(gamma * xh + beta)
        return out, (xh, s, gamma, out)

    @staticmethod
    def backward(dout, cache):
        xh, s, gamma, out = cache
        n = dout.shape[0]
        d = dout * (1 - out * out)
        dxh = d * gamma
        dx = (dxh - dxh.mean(0) - xh * (dxh * xh).sum(0) / (n - 1)) / s
        return dx, (d * xh).sum(0), d.sum(0)


@right(eps_place="variance", eps=1e-5, ddof=1)
class bessel_alone:
    @staticmethod
    def forward(x, gamma, beta):
        n = x.shape[0]
        mu = x.sum(0) / n
        v = ((x - mu) ** 2).sum(0) / (n - 1)
        return gamma * (x - mu) / np.sqrt(v + 1e-5) + beta, (x, mu, v, gamma)

    @staticmethod
    def backward(dout, cache):
        x, mu, v, gamma = cache
        n = x.shape[0]
        s = np.sqrt(v + 1e-5)
        dxh = dout * gamma
        dv = (-0.5 * dxh * (x - mu) / s**3).sum(0)
        dmu = -(dxh / s).sum(0)
        dx = dxh / s + dv * 2 * (x - mu) / (n - 1) + dmu / n
        return dx, (dout * (x - mu) / s).sum(0), dout.sum(0)


@right(eps_place="sd", eps=1e-3, ddof=1, remarks=("s = sqrt(Σ(x-μ)²/(N-1)) + 0.001",))
class eps_added_to_the_sd:
    @staticmethod
    def forward(x, gamma, beta):
        sd = x.std(axis=0, ddof=1)
        s = sd + 0.001
        return gamma * (x - x.mean(0)) / s + beta, (x - x.mean(0), sd, s, gamma)

    @staticmethod
    def backward(dout, cache):
        xc, sd, s, gamma = cache
        n = len(xc)
        dxh = gamma * dout
        ds = -(dxh * xc).sum(0) / s**2
        dx = dxh / s + ds * xc / (sd * (n - 1))
        return dx - (dxh / s).mean(0), (dout * xc / s).sum(0), dout.sum(0)


@right(eps_place="floor", eps=1e-5)
class variance_with_a_floor:
    @staticmethod
    def forward(x, gamma, beta):
        var = np.maximum(x.var(0), 1e-5)
        xh = (x - x.mean(0)) / np.sqrt(var)
        return xh * gamma + beta, (xh, var, gamma, x.var(0) > 1e-5)

    @staticmethod
    def backward(dout, cache):
        xh, var, gamma, above = cache
        dxh = dout * gamma
        dx = (dxh - dxh.mean(0) - above * xh * (dxh * xh).mean(0)) / np.sqrt(var)
        return dx, (dout * xh).sum(0), dout.sum(0)


@right(eps_place="floor", eps=1e-5, remarks=("below its floor",))
class variance_with_a_floor_that_backward_forgets:
    @staticmethod
    def forward(x, gamma, beta):
        var = np.where(x.var(0) < 1e-5, 1e-5, x.var(0))
        xh = (x - x.mean(0)) / np.sqrt(var)
        return xh * gamma + beta, (xh, var, gamma)

    @staticmethod
    def backward(dout, cache):
        xh, var, gamma = cache
        dxh = dout * gamma
        return (dxh - dxh.mean(0) - xh * (dxh * xh).mean(0)) / np.sqrt(var), (dout * xh).sum(0), dout.sum(0)


@right(eps_place="variance", eps_argument=True, remarks=("E[x²] - μ²",))
class variance_as_a_difference:
    @staticmethod
    def forward(x, gamma, beta, eps):
        mean = np.mean(x, 0)
        var = np.mean(x * x, 0) - mean * mean
        rstd = 1 / np.sqrt(var + eps)
        return (x - mean) * rstd * gamma + beta, (x, mean, rstd, gamma)

    @staticmethod
    def backward(dout, cache):
        x, mean, rstd, gamma = cache
        m = x.shape[0]
        sum_dy = dout.sum(0)
        sum_dy_x = (dout * x).sum(0)
        db = sum_dy
        dg = (sum_dy_x - mean * sum_dy) * rstd
        c1 = -gamma * rstd * rstd * dg / m
        c2 = -gamma * rstd * sum_dy / m - mean * c1
        return gamma * rstd * dout + c1 * x + c2, dg, db


@right(layout="CN", eps_place="variance", eps_argument=True, gamma=False, beta=False)
class samples_in_columns_without_parameters:
    @staticmethod
    def forward(Z, eps):
        mu = Z.mean(axis=1, keepdims=True)
        var = Z.var(axis=1, keepdims=True)
        Zn = (Z - mu) / np.sqrt(var + eps)
        return Zn, (Zn, var + eps)

    @staticmethod
    def backward(dZn, cache):
        Zn, v = cache
        m = Zn.shape[1]
        return (m * dZn - dZn.sum(1, keepdims=True) - Zn * (dZn * Zn).sum(1, keepdims=True)) / (m * np.sqrt(v))


@right(layout="CN", eps_place="variance", eps=1e-8)
class samples_in_columns_with_parameters:
    @staticmethod
    def forward(z, gamma, beta):
        m = z.shape[1]
        mu = np.sum(z, axis=1, keepdims=True) / m
        var = np.sum(np.square(z - mu), axis=1, keepdims=True) / m
        zn = (z - mu) / np.sqrt(var + 1e-8)
        return np.multiply(zn, gamma) + beta, (z, zn, mu, var, gamma)

    @staticmethod
    def backward(dout, cache):
        z, zn, mu, var, gamma = cache
        m = z.shape[1]
        dzn = dout * gamma
        dvar = np.sum(dzn * (z - mu), axis=1, keepdims=True) * (-0.5) * (var + 1e-8) ** (-1.5)
        dmu = np.sum(-dzn / np.sqrt(var + 1e-8), axis=1, keepdims=True)
        dz = dzn / np.sqrt(var + 1e-8) + dvar * 2 * (z - mu) / m + dmu / m
        return dz, np.sum(dout * zn, axis=1, keepdims=True), np.sum(dout, axis=1, keepdims=True)


@right(eps_place="variance", eps_argument=True, remarks=("has the shape (1,",))
class parameters_gradients_with_kept_dimensions:
    @staticmethod
    def forward(x, gamma, beta, epsilon):
        xc = x - x.mean(axis=0, keepdims=True)
        std = np.sqrt((xc**2).mean(axis=0, keepdims=True) + epsilon)
        xn = xc / std
        return gamma * xn + beta, {"xn": xn, "xc": xc, "std": std, "gamma": gamma}

    @staticmethod
    def backward(dout, cache):
        xn, xc, std, gamma = (cache[k] for k in ("xn", "xc", "std", "gamma"))
        dgamma = np.sum(dout * xn, axis=0, keepdims=True)
        dbeta = np.sum(dout, axis=0, keepdims=True)
        dxn = gamma * dout
        dxc = dxn / std
        dstd = -np.sum((dxn * xc) / (std * std), axis=0)
        dvar = 0.5 * dstd / std
        dxc += (2.0 / len(dout)) * xc * dvar
        dmu = np.sum(dxc, axis=0)
        return dxc - dmu / len(dout), dgamma, dbeta


@right(eps_place="variance", eps_argument=True, remarks=("is zero",))
class a_zero_term_added_twice:
    @staticmethod
    def forward(x, gamma, beta, eps):
        mu, var = np.mean(x, axis=0), np.var(x, axis=0)
        return gamma * (x - mu) / np.sqrt(var + eps) + beta, (x, mu, var, gamma, eps)

    @staticmethod
    def backward(dout, cache):
        x, mu, var, gamma, eps = cache
        m = x.shape[0]
        s = np.sqrt(var + eps)
        dxhat = dout * gamma
        dvar = (dxhat * (x - mu)).sum(0) * -0.5 * s**-3
        dmu = -dxhat.sum(0) / s + 2 * dvar * -2 * (x - mu).sum(0) / m
        return dxhat / s + dvar * 2 * (x - mu) / m + dmu / m, (dout * (x - mu) / s).sum(0), dout.sum(0)


@right(statistics="frozen", ddof=None, eps_argument=True, eps_place="variance", terms={"a": "1", "b": "0", "c": "0"})
class statistics_given:
    @staticmethod
    def forward(x, gamma, beta, running_mean, running_var, eps):
        s = np.sqrt(running_var + eps)
        xh = (x - running_mean) / s
        return gamma * xh + beta, (xh, gamma, s)

    @staticmethod
    def backward(dout, cache):
        xh, gamma, s = cache
        return dout * gamma / s, (dout * xh).sum(0), dout.sum(0)


MEAN, VAR = np.array([0.2, -1.0, 3.0, 0.5, 0.1, 2.0]), np.array([1.5, 0.3, 2.0, 0.8, 1.1, 0.6])


@right(statistics="frozen", ddof=None, eps_argument=True, terms={"a": "1", "b": "0", "c": "0"})
class statistics_of_a_module_that_has_six_nodes:
    @staticmethod
    def forward(x, gamma, beta, eps):
        s = np.sqrt(VAR + eps)
        xh = (x - MEAN) / s
        return gamma * xh + beta, (xh, gamma, s)

    @staticmethod
    def backward(dout, cache):
        xh, gamma, s = cache
        return dout * gamma / s, (dout * xh).sum(0), dout.sum(0)


@right(eps_place="variance", eps=1e-5, remarks=())
class with_state:
    def __init__(self, num_features, momentum=0.9):
        self.gamma, self.beta = np.ones(num_features), np.zeros(num_features)
        self.running_mean, self.running_var = np.zeros(num_features), np.ones(num_features)
        self.momentum, self.eps = momentum, 1e-5

    def forward(self, x, training=True):
        if training:
            self.mu, self.var = x.mean(0), x.var(0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * self.mu
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * self.var
        else:
            self.mu, self.var = self.running_mean, self.running_var
        self.std = np.sqrt(self.var + self.eps)
        self.xhat = (x - self.mu) / self.std
        return self.gamma * self.xhat + self.beta

    def backward(self, dout):
        self.dgamma = (dout * self.xhat).sum(0)
        self.dbeta = dout.sum(0)
        dx = dout * self.gamma
        return (dx - dx.mean(0) - self.xhat * (dx * self.xhat).mean(0)) / self.std


@right(layout="NCHW", eps_place="variance", eps_argument=True)
class with_state_over_images:
    def __init__(self, channels, eps=1e-3):
        self.eps = eps
        self.params = {"gamma": np.ones((1, channels, 1, 1)), "beta": np.zeros((1, channels, 1, 1))}
        self.grads = {}

    def forward(self, x, gamma, beta):
        self.g = gamma.reshape(1, -1, 1, 1)
        self.std = np.sqrt(x.var(axis=(0, 2, 3), keepdims=True) + self.eps)
        self.xh = (x - x.mean(axis=(0, 2, 3), keepdims=True)) / self.std
        return self.g * self.xh + beta.reshape(1, -1, 1, 1)

    def backward(self, grad):
        axes = (0, 2, 3)
        m = grad.size // grad.shape[1]
        dxh = grad * self.g
        dx = (m * dxh - dxh.sum(axes, keepdims=True) - self.xh * (dxh * self.xh).sum(axes, keepdims=True)) / (
            m * self.std
        )
        return dx, (grad * self.xh).sum(axes), grad.sum(axes)


@right(layout="NHWC", eps_place="variance", eps=1e-3)
class images_channels_last:
    @staticmethod
    def forward(x, gamma, beta):
        flat = x.reshape(-1, x.shape[-1])
        mu, var = flat.mean(0), flat.var(0)
        xh = (flat - mu) / np.sqrt(var + 1e-3)
        return (gamma * xh + beta).reshape(x.shape), (xh, var, gamma)

    @staticmethod
    def backward(dout, cache):
        xh, var, gamma = cache
        d = dout.reshape(xh.shape)
        dx = gamma / np.sqrt(var + 1e-3) * (d - d.mean(0) - xh * (d * xh).mean(0))
        return dx.reshape(dout.shape), (d * xh).sum(0), d.sum(0)


@right(layout="NCHW", eps_place="variance", eps_argument=True)
class images_by_transposing:
    @staticmethod
    def forward(x, gamma, beta, bn_param):
        N, C, H, W = x.shape
        flat = x.transpose(0, 2, 3, 1).reshape(N * H * W, C)
        out, cache = closed_form.forward(flat, gamma, beta, bn_param.get("eps", 1e-5))
        return out.reshape(N, H, W, C).transpose(0, 3, 1, 2), cache

    @staticmethod
    def backward(dout, cache):
        N, C, H, W = dout.shape
        dx, dg, db = closed_form.backward(dout.transpose(0, 2, 3, 1).reshape(-1, C), cache)
        return dx.reshape(N, H, W, C).transpose(0, 3, 1, 2), dg, db


@right(eps_place="variance", eps=1e-5)
class backward_that_takes_what_it_needs:
    @staticmethod
    def forward(x, gamma, beta):
        mean, rstd = x.mean(0), 1 / np.sqrt(x.var(0) + 1e-5)
        return (x - mean) * rstd * gamma + beta, mean, rstd

    @staticmethod
    def backward(dy, x, gamma, mean, rstd):
        xh = (x - mean) * rstd
        return gamma * rstd * (dy - dy.mean(0) - xh * (dy * xh).mean(0)), (dy * xh).sum(0), dy.sum(0)


@right(eps_place="variance", eps=1e-5)
class out_alone_and_all_anew:
    @staticmethod
    def forward(x, gamma, beta):
        return gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) + beta

    @staticmethod
    def backward(dy, x, gamma, beta):
        s = np.sqrt(x.var(0) + 1e-5)
        xh = (x - x.mean(0)) / s
        return gamma / s * (dy - dy.mean(0) - xh * (dy * xh).mean(0)), (dy * xh).sum(0), dy.sum(0)


@right(eps=0.0, eps_place="", ddof=1)
class scale_as_in_r:
    @staticmethod
    def forward(x, gamma, beta):
        s = x.std(0, ddof=1)
        return gamma * (x - x.mean(0)) / s + beta, (x, s, gamma)

    @staticmethod
    def backward(dout, cache):
        x, s, gamma = cache
        n = len(x)
        xh = (x - x.mean(0)) / s
        H = np.eye(n) - 1 / n
        dx = np.stack(
            [(gamma[j] / s[j]) * (H - np.outer(xh[:, j], xh[:, j]) / (n - 1)) @ dout[:, j] for j in range(x.shape[1])],
            1,
        )
        return dx, np.diag(xh.T @ dout), np.ones(n) @ dout


@right(eps_place="variance", eps=1e-5, power=2)
class divided_by_the_variance_and_rightly_derived:
    @staticmethod
    def forward(x, gamma, beta):
        v = x.var(0) + 1e-5
        return gamma * (x - x.mean(0)) / v + beta, (x - x.mean(0), v, gamma)

    @staticmethod
    def backward(dout, cache):
        xc, v, gamma = cache
        d = dout * gamma
        dv = -(d * xc).sum(0) / v**2
        return d / v - (d / v).mean(0) + 2 * dv * xc / len(xc), (dout * xc / v).sum(0), dout.sum(0)


@right(eps_place="variance", eps=1e-5, activation="relu")
class relu_behind_it:
    @staticmethod
    def forward(x, gamma, beta):
        s = np.sqrt(x.var(0) + 1e-5)
        xh = (x - x.mean(0)) / s
        b = gamma * xh + beta
        return np.maximum(b, 0), (xh, s, gamma, b)

    @staticmethod
    def backward(dout, cache):
        xh, s, gamma, b = cache
        d = dout * (b > 0)
        return gamma / s * (d - d.mean(0) - xh * (d * xh).mean(0)), (d * xh).sum(0), d.sum(0)


@right(eps_place="variance", eps=1e-5, remarks=("float32",))
class in_float32:
    @staticmethod
    def forward(x, gamma, beta):
        x = x.astype(np.float32)
        s = np.sqrt(x.var(0) + np.float32(1e-5))
        xh = (x - x.mean(0)) / s
        return (gamma.astype(np.float32) * xh + beta.astype(np.float32)), (xh, s, gamma.astype(np.float32))

    @staticmethod
    def backward(dout, cache):
        xh, s, gamma = cache
        d = dout.astype(np.float32)
        return gamma / s * (d - d.mean(0) - xh * (d * xh).mean(0)), (d * xh).sum(0), d.sum(0)


@right(eps_place="variance", eps=1e-5, beta=False)
class dx_alone_of_a_loop:
    @staticmethod
    def forward(x, gamma):
        out, cache = np.empty_like(x), []
        for j in range(x.shape[1]):
            col = x[:, j]
            mu = sum(col) / len(col)
            var = sum((v - mu) ** 2 for v in col) / len(col)
            s = (var + 1e-5) ** 0.5
            out[:, j] = [gamma[j] * (v - mu) / s for v in col]
            cache.append((mu, s))
        return out, (x, gamma, cache)

    @staticmethod
    def backward(dout, cache):
        x, gamma, stats = cache
        dx = np.zeros_like(x)
        n = len(x)
        for j, (mu, s) in enumerate(stats):
            t1 = sum(dout[i, j] for i in range(n))
            t2 = sum(dout[i, j] * (x[i, j] - mu) for i in range(n))
            for i in range(n):
                dx[i, j] = gamma[j] / (n * s) * (n * dout[i, j] - t1 - (x[i, j] - mu) * t2 / s**2)
        return dx


# --- wrong: a forward of the course's, and backward passes of many kinds


def course_forward(x, gamma, beta, eps):
    mu, var = x.mean(0), x.var(0)
    s = np.sqrt(var + eps)
    xh = (x - mu) / s
    return gamma * xh + beta, (x, xh, mu, var, s, gamma, eps)


def against(forward):
    """A class of that forward and of the decorated backward."""
    return lambda backward: type(
        backward.__name__,
        (),
        {"forward": staticmethod(forward), "backward": staticmethod(backward), "__module__": __name__},
    )


@wrong("b = c = 0", "held constant", terms={"a": "1", "b": "0", "c": "0"})
@against(course_forward)
def held_constant(dout, cache):
    _x, xh, _mu, _var, s, gamma, _eps = cache
    return dout * gamma / s, (dout * xh).sum(0), dout.sum(0)


@wrong("γ is missing from dx", terms={"a": "1/γ", "b": "1/γ", "c": "1/γ"})
@against(course_forward)
def without_gamma(dout, cache):
    x, xh, _mu, _var, s, _gamma, _eps = cache
    N = len(x)
    return (N * dout - dout.sum(0) - xh * (dout * xh).sum(0)) / (N * s), (dout * xh).sum(0), dout.sum(0)


@wrong("a = 1/γ", "a lacks γ", "dgamma", terms={"a": "1/γ", "b": "1", "c": "1"})
@against(course_forward)
def without_gamma_in_the_first_term(dout, cache):
    _x, xh, _mu, _var, s, gamma, _eps = cache
    return dout / s - gamma / s * (dout.mean(0) + xh * (dout * xh).mean(0)), np.zeros_like(gamma), dout.sum(0)


def eight_forward(x, gamma, beta):
    return course_forward(x, gamma, beta, 1e-8)


@wrong("c = -1", "sign", terms={"a": "1", "b": "1", "c": "-1"})
@against(eight_forward)
def sign_of_the_s_term(dout, cache):
    x, xh, mu, var, s, gamma, eps = cache
    N = len(x)
    dxh = dout * gamma
    dvar = (dxh * (x - mu)).sum(0) * 0.5 * (var + eps) ** -1.5
    return dxh / s + dvar * 2 * (x - mu) / N - (dxh / s).sum(0) / N, (dout * xh).sum(0), dout.sum(0)


@wrong("b = N", terms={"a": "1", "b": "N", "c": "1"})
@against(eight_forward)
def a_mean_forgotten(dout, cache):
    x, xh, _mu, _var, s, gamma, _eps = cache
    N = len(x)
    return gamma / s * (dout - (dout.sum(0) + xh * (dout * xh).sum(0) / N)), (dout * xh).sum(0), dout.sum(0)


@wrong("a = 1/N", terms={"a": "1/N", "b": "1", "c": "1"})
@against(eight_forward)
def all_divided_by_n(dout, cache):
    x, xh, _mu, _var, s, gamma, _eps = cache
    N = len(x)
    return gamma / s / N * (dout - dout.sum(0) - xh * (dout * xh).sum(0)), (dout * xh).sum(0), dout.sum(0)


def bessel_forward(x, gamma, beta):
    s = np.sqrt(x.var(0, ddof=1) + 1e-5)
    xh = (x - x.mean(0)) / s
    return gamma * xh + beta, (xh, s, gamma)


@wrong("c = 1 where N/(N-1) belongs", "N-1", terms={"a": "1", "b": "1", "c": "1"})
@against(bessel_forward)
def n_for_n_minus_1(dout, cache):
    xh, s, gamma = cache
    return gamma / s * (dout - dout.mean(0) - xh * (dout * xh).mean(0)), (dout * xh).sum(0), dout.sum(0)


@wrong("c = N/(N-1)", terms={"a": "1", "b": "1", "c": "N/(N-1)"})
@against(course_forward)
def n_minus_1_for_n(dout, cache):
    x, xh, _mu, _var, s, gamma, _eps = cache
    n = len(x) - 1
    return gamma / s * (dout - dout.mean(0) - xh * (dout * xh).sum(0) / n), (dout * xh).sum(0), dout.sum(0)


def outside_forward(x, gamma, beta):
    sd = x.std(0)
    xh = (x - x.mean(0)) / (sd + 1e-5)
    return gamma * xh + beta, (xh, x, gamma)


@wrong("eps is outside the root in the forward, and inside in the backward", "s'")
@against(outside_forward)
def eps_outside_then_inside(dout, cache):
    xh, x, gamma = cache
    N, xc, var = len(x), x - x.mean(0), x.var(0)
    inv = 1 / np.sqrt(var + 1e-5)
    dxh = dout * gamma
    dvar = (dxh * xc).sum(0) * -0.5 * inv**3
    return dxh * inv + dvar * 2 * xc / N - (dxh * inv).sum(0) / N, (dout * xh).sum(0), dout.sum(0)


def six_forward(x, gamma, beta):
    return course_forward(x, gamma, beta, 1e-6)


@wrong("eps is 1e-8 in the backward and 1e-6 in the forward")
@against(six_forward)
def another_eps(dout, cache):
    x, xh, mu, var, s, gamma, _eps = cache
    s = np.sqrt(var + 1e-8)
    return (
        gamma / s * (dout - dout.mean(0) - (x - mu) / s * (dout * (x - mu) / s).mean(0)),
        (dout * xh).sum(0),
        dout.sum(0),
    )


@wrong("eps is forgotten")
@against(six_forward)
def eps_forgotten(dout, cache):
    _x, xh, _mu, var, _s, gamma, _eps = cache
    return gamma / np.sqrt(var) * (dout - dout.mean(0) - xh * (dout * xh).mean(0)), (dout * xh).sum(0), dout.sum(0)


@wrong("eps=1e-5 is built into the backward")
@against(course_forward)
def eps_built_into_the_backward(dout, cache):
    x, xh, mu, var, s, gamma, _eps = cache
    s = np.sqrt(var + 1e-5)
    xh = (x - mu) / s
    return gamma / s * (dout - dout.mean(0) - xh * (dout * xh).mean(0)), (dout * xh).sum(0), dout.sum(0)


@wrong("a = 0", "b = 1-N", terms={"a": "0", "b": "1-N", "c": "1"})
@against(course_forward)
def sum_for_dout(dout, cache):
    x, xh, _mu, _var, s, gamma, _eps = cache
    N = len(x)
    return (
        (1 / N) * gamma / s * (N * dout.sum(0) - dout.sum(0) - xh * (dout * xh).sum(0)),
        (dout * xh).sum(0),
        dout.sum(0),
    )


@wrong("the saved 1/s is taken for the variance")
@against(lambda x, gamma, beta, eps: course_forward(x, gamma, beta, eps))
def inverse_for_variance(dout, cache):
    x, xh, mu, _var, s, gamma, eps = cache
    saved = 1 / s
    s = np.sqrt(saved + eps)
    xh = (x - mu) / s
    return gamma / s * (dout - dout.mean(0) - xh * (dout * xh).mean(0)), (dout * xh).sum(0), dout.sum(0)


@wrong("nodes are mixed", "without its axis")
@against(course_forward)
def sum_without_its_axis(dout, cache):
    x, xh, _mu, _var, s, gamma, _eps = cache
    N = len(x)
    return gamma / s / N * (N * dout - np.sum(dout) - xh * (dout * xh).sum(0)), (dout * xh).sum(0), dout.sum(0)


@wrong("nodes are mixed", "without its axis")
@against(course_forward)
def second_sum_without_its_axis(dout, cache):
    x, xh, _mu, _var, s, gamma, _eps = cache
    N = len(x)
    return gamma / s / N * (N * dout - dout.sum(0) - xh * np.sum(dout * xh)), (dout * xh).sum(0), dout.sum(0)


@wrong("nodes are mixed")
@against(eight_forward)
def product_of_matrices_with_gamma(dout, cache):
    x, xh, _mu, _var, s, gamma, _eps = cache
    dxh = np.dot(dout, gamma.reshape(-1, 1)) * np.ones_like(x)
    return (dxh - dxh.mean(0) - xh * (dxh * xh).mean(0)) / s, (dout * xh).sum(0), dout.sum(0)


@wrong("ValueError", "layer_zoo.py line", "np.dot(dout, xh)")
@against(course_forward)
def products_of_matrices(dout, cache):
    _x, xh, _mu, _var, s, gamma, _eps = cache
    dgamma = np.dot(dout, xh)
    return gamma / s * dout, dgamma, dout.sum(0)


@wrong("rows are not coupled")
@against(course_forward)
def diagonal_of_the_jacobian(dout, cache):
    x, xh, _mu, _var, s, gamma, _eps = cache
    N = len(x)
    return gamma / s * dout * (1 - 1 / N - xh**2 / N), (dout * xh).sum(0), dout.sum(0)


@wrong("neither γ nor 1/s", "b = c = 0", terms={"a": "s/γ", "b": "0", "c": "0"})
@against(course_forward)
def dx_is_dout(dout, cache):
    _x, xh, _mu, _var, _s, _gamma, _eps = cache
    return dout, (dout * xh).sum(0), dout.sum(0)


@wrong("dgamma and dbeta are swapped", terms=ONE)
@against(course_forward)
def swapped(dout, cache):
    _x, xh, _mu, _var, s, gamma, _eps = cache
    return gamma / s * (dout - dout.mean(0) - xh * (dout * xh).mean(0)), dout.sum(0), (dout * xh).sum(0)


@wrong("b = c = 1/N", "dgamma: is 1/N times", "dbeta: is 1/N times", terms={"a": "1", "b": "1/N", "c": "1/N"})
@against(course_forward)
def means_for_sums(dout, cache):
    x, xh, _mu, _var, s, gamma, _eps = cache
    N = len(x)
    dgamma, dbeta = np.mean(dout * xh, axis=0), np.mean(dout, axis=0)
    return gamma / s / N * (N * dout - dbeta - xh * dgamma), dgamma, dbeta


@wrong("statistics that are given", terms={})
@against(
    lambda x, gamma, beta, mean, var, eps: (gamma * (x - mean) / np.sqrt(var + eps) + beta, (x, mean, var, gamma, eps))
)
def running_forward_batch_backward(dout, cache):
    x, mean, var, gamma, eps = cache
    s = np.sqrt(var + eps)
    xh = (x - mean) / s
    return gamma / s * (dout - dout.mean(0) - xh * (dout * xh).mean(0)), (dout * xh).sum(0), dout.sum(0)


@wrong("statistics that are given", terms={})
@against(
    lambda x, gamma, beta, mean, var, eps: (gamma * (x - mean) / np.sqrt(var + eps) + beta, (x, mean, var, gamma, eps))
)
def running_forward_batch_anew(dout, cache):
    x, mean, var, gamma, eps = cache
    s = np.sqrt(x.var(0) + eps)
    xh = (x - x.mean(0)) / s
    return (
        gamma / s * (dout - dout.mean(0) - xh * (dout * xh).mean(0)),
        (dout * (x - mean) / np.sqrt(var + eps)).sum(0),
        dout.sum(0),
    )


@wrong("variance stands where the mean belongs")
@against(course_forward)
def variance_for_the_mean(dout, cache):
    x, xh, mu, var, s, gamma, eps = cache
    N = len(x)
    dxh = dout * gamma
    dvar = (dxh * (x - mu)).sum(0) * -0.5 * (var + eps) ** -1.5
    return dxh / s + dvar * 2 * (x - var) / N - (dxh / s).sum(0) / N, (dout * xh).sum(0), dout.sum(0)


@wrong("x stands where x - μ belongs")
@against(course_forward)
def not_centred(dout, cache):
    x, xh, mu, var, s, gamma, eps = cache
    dxh = dout * gamma
    dvar = (dxh * (x - mu)).sum(0) * -0.5 * (var + eps) ** -1.5
    return dxh / s + dvar * 2 * x / len(x) - (dxh / s).mean(0), (dout * xh).sum(0), dout.sum(0)


def nhwc_forward(x, gamma, beta, eps):
    mu, var = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    s = np.sqrt(var + eps)
    xh = (x - mu) / s
    return gamma * xh + beta, (xh, s, gamma)


@wrong("b = c = H·W", "pixels", layout="NHWC", terms={"a": "1", "b": "H·W", "c": "H·W"})
@against(nhwc_forward)
def n_for_all_pixels(dout, cache):
    xh, s, gamma = cache
    N, axes = dout.shape[0], (0, 1, 2)
    return (
        gamma / (N * s) * (N * dout - dout.sum(axes) - xh * (dout * xh).sum(axes)),
        (dout * xh).sum(axes),
        dout.sum(axes),
    )


@wrong("dgamma: is γ times", "a stray γ", terms=ONE)
@against(course_forward)
def stray_gamma(dout, cache):
    _x, xh, _mu, _var, s, gamma, _eps = cache
    return gamma / s * (dout - dout.mean(0) - xh * (dout * xh).mean(0)), (dout * gamma * xh).sum(0), dout.sum(0)


@wrong("its sum over rows is missing", terms=ONE)
@against(course_forward)
def not_summed(dout, cache):
    _x, xh, _mu, _var, s, gamma, _eps = cache
    return gamma / s * (dout - dout.mean(0) - xh * (dout * xh).mean(0)), dout * xh, dout.sum(0)


@wrong("s multiplies where it is to divide", terms={"a": "s^2", "b": "s^2", "c": "s^2"})
@against(course_forward)
def times_s(dout, cache):
    _x, xh, _mu, _var, s, gamma, _eps = cache
    return gamma * s * (dout - dout.mean(0) - xh * (dout * xh).mean(0)), (dout * xh).sum(0), dout.sum(0)


@wrong("the term through s is missing", terms={"a": "1", "b": "1", "c": "0"})
@against(course_forward)
def no_s_term(dout, cache):
    _x, xh, _mu, _var, s, gamma, _eps = cache
    return gamma / s * (dout - dout.mean(0)), (dout * xh).sum(0), dout.sum(0)


@wrong("is lost or taken twice", "c = 2", terms={"a": "1", "b": "1", "c": "2"})
@against(course_forward)
def the_half_of_the_root_lost(dout, cache):
    x, xh, mu, var, s, gamma, eps = cache
    dxh = dout * gamma
    dvar = (dxh * (x - mu)).sum(0) * -1.0 * (var + eps) ** -1.5
    return dxh / s + dvar * 2 * (x - mu) / len(x) - (dxh / s).mean(0), (dout * xh).sum(0), dout.sum(0)


@wrong("not linear in dout")
@against(course_forward)
def squared(dout, cache):
    _x, xh, _mu, _var, s, gamma, _eps = cache
    return gamma / s * (dout**2 - dout.mean(0) - xh * (dout * xh).mean(0)), (dout * xh).sum(0), dout.sum(0)


@wrong("rows are mixed")
@against(course_forward)
def rows_reversed(dout, cache):
    _x, xh, _mu, _var, s, gamma, _eps = cache
    return (gamma / s * (dout - dout.mean(0) - xh * (dout * xh).mean(0)))[::-1], (dout * xh).sum(0), dout.sum(0)
