"""A plug-in of right gradients as people write them elsewhere: conventions of their own built in, in their own style.

`WRONG` makes wrong versions of them: name to the step that is edited, what is replaced, by what, and the names that
the diagnosis has to give; several edits one after the other.
"""

import numpy as np

import bnbench


@bnbench.variant("course-staged", family="matrix")
def course_staged(X, y, G1, gamma, beta, G2, **kwargs):
    """A course solution, one line for each node of the graph."""
    eps = 1e-5
    x = X.dot(G1)
    N, D = x.shape
    # forward
    mu = 1.0 / N * np.sum(x, axis=0)
    xmu = x - mu
    sq = xmu**2
    var = 1.0 / N * np.sum(sq, axis=0)
    sqrtvar = np.sqrt(var + eps)
    ivar = 1.0 / sqrtvar
    xhat = xmu * ivar
    out = gamma * xhat + beta
    h = np.maximum(0, out)
    scores = h.dot(G2)
    loss = np.mean((scores - y) ** 2)
    # backward
    dscores = 2.0 * (scores - y) / N
    dG2 = h.T.dot(dscores)
    dh = np.outer(dscores, G2)
    dout = dh * (out > 0)
    dbeta = np.sum(dout, axis=0)
    dgamma = np.sum(dout * xhat, axis=0)
    dxhat = dout * gamma
    divar = np.sum(dxhat * xmu, axis=0)
    dxmu1 = dxhat * ivar
    dsqrtvar = -1.0 / (sqrtvar**2) * divar
    dvar = 0.5 * 1.0 / np.sqrt(var + eps) * dsqrtvar
    dsq = 1.0 / N * np.ones((N, D), x.dtype) * dvar
    dxmu2 = 2 * xmu * dsq
    dx1 = dxmu1 + dxmu2
    dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
    dx2 = 1.0 / N * np.ones((N, D), x.dtype) * dmu
    dx = dx1 + dx2
    return loss, X.T.dot(dx), dgamma, dbeta, dG2


@bnbench.variant("course-closed", family="matrix")
def course_closed(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps):
    """The closed form with the 1/N outside; eps is an argument, ddof is ignored."""
    x = X @ G1
    N = x.shape[0]
    sample_mean = np.mean(x, axis=0)
    sample_var = np.var(x, axis=0)
    x_hat = (x - sample_mean) / np.sqrt(sample_var + eps)
    out = gamma * x_hat + beta
    a = np.maximum(out, 0)
    err = a @ G2 - y
    dout = 2 / N * err[:, None] * G2[None, :]
    dout[out <= 0] = 0
    dbeta = dout.sum(axis=0)
    dgamma = (dout * x_hat).sum(axis=0)
    dx = (gamma / (N * np.sqrt(sample_var + eps))) * (N * dout - dbeta - x_hat * dgamma)
    return (err**2).mean(), X.T @ dx, dgamma, dbeta, 2 / N * a.T @ err


class BatchNorm:
    """A textbook's layer with state."""

    def __init__(self, gamma, beta):
        self.gamma, self.beta = gamma, beta

    def forward(self, x):
        mu = x.mean(axis=0)
        xc = x - mu
        var = np.mean(xc**2, axis=0)
        std = np.sqrt(var + 10e-7)
        xn = xc / std
        self.batch_size, self.xc, self.xn, self.std = x.shape[0], xc, xn, std
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


@bnbench.variant("textbook-class", family="matrix")
def textbook_class(X, y, G1, gamma, beta, G2, activation="relu", normalization="batch", ddof=0, eps=None):
    """A layer object, a mask for the ReLU."""
    layer = BatchNorm(gamma, beta)
    out = layer.forward(np.dot(X, G1))
    mask = out <= 0
    hidden = out.copy()
    hidden[mask] = 0
    residual = y - np.dot(hidden, G2)
    dhidden = -2 / len(y) * np.outer(residual, G2)
    dhidden[mask] = 0
    dx = layer.backward(dhidden)
    return np.mean(residual**2), np.dot(X.T, dx), layer.dgamma, layer.dbeta, -2 / len(y) * np.dot(hidden.T, residual)


@bnbench.variant("caffe", family="matrix")
def caffe(X, y, G1, gamma, beta, G2, **unused):
    """Sums as products with a vector of ones, dE/dY twice the mean, then one division."""
    num = X.shape[0]
    ones = np.ones(num, X.dtype)
    bottom = X @ G1
    mean = bottom.T @ ones / num
    top = bottom - np.outer(ones, mean)
    variance = (top**2).T @ ones / num
    temp = np.sqrt(variance + 1e-5)
    top = top / temp
    scaled = top * gamma + beta
    rectified = np.where(scaled > 0, scaled, 0)
    diff = rectified @ G2 - y
    scaled_diff = np.outer(diff * (2 / num), G2) * (scaled > 0)
    dgamma = (scaled_diff * top).T @ ones
    dbeta = scaled_diff.T @ ones
    top_diff = scaled_diff * gamma
    bottom_diff = np.outer(ones, (top_diff * top).T @ ones / num) * top
    bottom_diff = bottom_diff + np.outer(ones, top_diff.T @ ones / num)
    bottom_diff = (top_diff - bottom_diff) / temp
    return diff @ diff / num, X.T @ bottom_diff, dgamma, dbeta, rectified.T @ diff * (2 / num)


@bnbench.variant("darknet", family="loops")
def darknet(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps):
    """Loops over filters, as in C; leaky units left out."""
    real = X.dtype.type
    x = X @ G1
    batch, filters = x.shape
    mean, variance = np.zeros(filters, real), np.zeros(filters, real)
    x_norm, output = np.zeros_like(x), np.zeros_like(x)
    for f in range(filters):
        mean[f] = x[:, f].sum() / real(batch)
        variance[f] = ((x[:, f] - mean[f]) ** 2).sum() / real(batch)
        x_norm[:, f] = (x[:, f] - mean[f]) / np.sqrt(variance[f] + real(0.00001))
        output[:, f] = gamma[f] * x_norm[:, f] + beta[f]
    activated = output * (output > 0)
    error = y - activated @ G2
    delta = -2 * np.outer(error, G2) / real(batch) * (output > 0)
    bias_updates, scale_updates = np.zeros(filters, real), np.zeros(filters, real)
    for f in range(filters):
        bias_updates[f] += delta[:, f].sum()
        scale_updates[f] += (delta[:, f] * x_norm[:, f]).sum()
        delta[:, f] *= gamma[f]
        mean_delta = delta[:, f].sum() * (-1 / np.sqrt(variance[f] + real(0.00001)))
        variance_delta = (delta[:, f] * (x[:, f] - mean[f])).sum()
        variance_delta *= real(-0.5) * (variance[f] + real(0.00001)) ** real(-1.5)
        delta[:, f] = (
            delta[:, f] * 1 / np.sqrt(variance[f] + real(0.00001))
            + variance_delta * 2 * (x[:, f] - mean[f]) / real(batch)
            + mean_delta / real(batch)
        )
    return (
        (error @ error) / real(batch),
        X.T @ delta,
        scale_updates,
        bias_updates,
        -2 * activated.T @ error / real(batch),
    )


@bnbench.variant("mlpack", family="matrix")
def mlpack(X, y, G1, gamma, beta, G2):
    """Samples in columns; eps is 1e-8."""
    input = (X @ G1).T
    n = input.shape[1]
    mean = input.mean(axis=1, keepdims=True)
    variance = input.var(axis=1, keepdims=True)
    input_sub_mean = input - mean
    std_inv = 1.0 / np.sqrt(variance + 1e-8)
    normalized = input_sub_mean * std_inv
    output = normalized * gamma[:, None] + beta[:, None]
    hidden = np.maximum(output, 0)
    error = G2 @ hidden - y
    gy = np.outer(G2, error) * (output > 0) * 2 / n
    norm = gy * gamma[:, None]
    var = np.sum(norm * input_sub_mean, axis=1, keepdims=True) * std_inv**3 * -0.5
    g = norm * std_inv + var * input_sub_mean * 2 / n
    g = g + np.sum(norm * -std_inv, axis=1, keepdims=True) / n
    return np.mean(error**2), X.T @ g.T, np.sum(normalized * gy, axis=1), np.sum(gy, axis=1), 2 / n * hidden @ error


@bnbench.variant("r-scale", family="matrix")
def r_scale(X, y, G1, gamma, beta, G2, *, activation, **conventions):
    """R's scale(): the standard deviation divides by N - 1, there is no eps; ReLU, tanh and sigmoid."""
    h = {
        "relu": lambda b: np.where(b > 0, b, 0),
        "tanh": np.tanh,
        "sigmoid": lambda b: 0.5 * (1 + np.tanh(b / 2)),
    }[activation]
    z = X @ G1
    n = z.shape[0]
    s = np.std(z, axis=0, ddof=1)
    xh = (z - z.mean(axis=0)) / s
    b = xh * gamma + beta
    a = h(b)
    hp = {"relu": (b > 0) * 1.0, "tanh": 1 - a**2, "sigmoid": a * (1 - a)}[activation].astype(z.dtype)
    u = y - a @ G2
    stub = hp * (-2 * np.outer(u, G2)) / n
    drdb, drdg = stub.sum(axis=0), np.diag(xh.T @ stub).copy()
    dz = (stub - drdb / n - xh * drdg / (n - 1)) * (gamma / s)
    return np.sum(u**2) / n, X.T @ dz, drdg, drdb, -2 * a.T @ u / n


@bnbench.variant("matlab", family="matrix")
def matlab(X, y, W1, g, b, W2, *args, **kwargs):
    """bsxfun and repmat; eps is 1e-3; vectors come back as rows."""
    x = X @ W1
    m = x.shape[0]
    mu = np.mean(x, 0, keepdims=True)
    sigma2 = np.mean((x - mu) ** 2, 0, keepdims=True)
    xhat = (x - np.tile(mu, (m, 1))) / np.tile(np.sqrt(sigma2 + 1e-3), (m, 1))
    out = xhat * g[None, :] + b[None, :]
    act = np.maximum(out, 0)
    e = act @ W2[:, None] - y[:, None]
    dout = (2 / m) * (e @ W2[None, :]) * (out > 0)
    dxhat = dout * g[None, :]
    dsigma2 = np.sum(dxhat * (x - mu) * (-1 / 2) * (sigma2 + 1e-3) ** (-3 / 2), 0, keepdims=True)
    dmu = np.sum(-dxhat / np.sqrt(sigma2 + 1e-3), 0, keepdims=True) + dsigma2 * np.mean(-2 * (x - mu), 0, keepdims=True)
    dx = dxhat / np.sqrt(sigma2 + 1e-3) + dsigma2 * 2 * (x - mu) / m + dmu / m
    return (
        (e.T @ e) / m,
        X.T @ dx,
        np.sum(dout * xhat, 0, keepdims=True),
        np.sum(dout, 0, keepdims=True),
        (2 / m) * act.T @ e,
    )


class Tensor:
    """What a framework's array is to a caller: no array, and one on request."""

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    def cpu(self):
        return self

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


@bnbench.variant("tensors", family="matrix")
def tensors(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps=1e-5):
    """The gradient of a framework's custom function; tensors come back."""
    if ddof != 0:
        raise NotImplementedError("only the biased variance")
    act, grad = {
        "relu": (lambda t: np.maximum(t, 0), lambda t: (t > 0).astype(t.dtype)),
        "tanh": (np.tanh, lambda t: 1 - np.tanh(t) ** 2),
        "identity": (lambda t: t, np.ones_like),
    }[activation]
    z = X @ G1
    invstd = 1 / np.sqrt(((z - z.mean(0)) ** 2).mean(0) + eps)
    xhat = (z - z.mean(0)) * invstd
    b = xhat * gamma + beta
    residual = y - act(b) @ G2
    grad_output = np.outer(residual, G2) * grad(b) * (-2 / len(y))
    sum_dy, sum_dy_xhat = grad_output.sum(0), (grad_output * xhat).sum(0)
    grad_input = gamma * invstd * (grad_output - sum_dy / len(y) - xhat * sum_dy_xhat / len(y))
    parts = (residual**2).mean(), X.T @ grad_input, sum_dy_xhat, sum_dy, act(b).T @ residual * (-2 / len(y))
    return [Tensor(part) for part in parts]


@bnbench.variant("bessel-tanh", family="matrix")
def bessel_tanh(X, y, G1, gamma, beta, G2, **options):
    """Bessel's variance forward and backward, tanh behind it."""
    Z = X @ G1
    N = Z.shape[0]
    mu = Z.sum(0) / N
    var = np.sum((Z - mu) ** 2, 0) / (N - 1)
    rstd = (var + 1e-5) ** -0.5
    H = np.tanh(gamma * (Z - mu) * rstd + beta)
    diff = H @ G2 - y
    dB = 2 / N * diff[:, None] * G2 * (1 - H * H)
    dgamma = np.sum(dB * (Z - mu) * rstd, 0)
    dXhat = dB * gamma
    dvar = np.sum(dXhat * (Z - mu), 0) * -0.5 * rstd**3
    dmu = -np.sum(dXhat, 0) * rstd
    dZ = dXhat * rstd + dvar * 2 * (Z - mu) / (N - 1) + dmu / N
    return np.sum(diff**2) / N, X.T @ dZ, dgamma, np.sum(dB, 0), 2 / N * H.T @ diff


@bnbench.variant("moments", family="matrix")
def moments(X, y, G1, gamma, beta, G2, *, activation=None, normalization=None, ddof=None, eps=0.01):
    """E[z²] - μ² for the variance; eps is an argument."""
    z = X @ G1
    n = len(z)
    mean, square = z.mean(0), (z * z).mean(0)
    inv = 1 / np.sqrt(square - mean**2 + eps)
    zh = (z - mean) * inv
    b = gamma * zh + beta
    e = np.maximum(b, 0) @ G2 - y
    g = (2 / n) * np.outer(e, G2) * (b > 0)
    dinv = (g * gamma * (z - mean)).sum(0)
    dsquare = -0.5 * inv**3 * dinv
    dmean = -(g * gamma).sum(0) * inv - 2 * mean * dsquare
    dz = g * gamma * inv + dmean / n + 2 * z * dsquare / n
    return (e * e).mean(), X.T @ dz, (g * zh).sum(0), g.sum(0), (2 / n) * np.maximum(b, 0).T @ e


@bnbench.variant("outside-the-root", family="matrix")
def outside_the_root(X, y, G1, gamma, beta, G2, **options):
    """eps is added to the standard deviation, and the backward pass is derived from that; ddof is 1."""
    Z = X @ G1
    N = len(Z)
    C = Z - Z.mean(0)
    sd = np.sqrt((C**2).sum(0) / (N - 1))
    d = sd + 1e-3
    Xh = C / d
    B = gamma * Xh + beta
    e = y - np.maximum(B, 0) @ G2
    S = -2 / N * np.outer(e, G2) * (B > 0)
    dgamma = (S * Xh).sum(0)
    dd = -gamma * dgamma / d
    dC = gamma * S / d + dd * C / (sd * (N - 1))
    return (e**2).mean(), X.T @ (dC - dC.mean(0)), dgamma, S.sum(0), -2 / N * np.maximum(B, 0).T @ e


@bnbench.variant("floor", family="matrix")
def floor(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps):
    """The variance is not allowed below 1e-5."""
    Z = X @ G1
    N = len(Z)
    var = Z.var(0)
    s = np.sqrt(np.maximum(var, 1e-5))
    Xh = (Z - Z.mean(0)) / s
    B = gamma * Xh + beta
    e = y - B * (B > 0) @ G2
    S = -2 / N * np.outer(e, G2) * (B > 0)
    moves = var > 1e-5
    dZ = gamma / s * (S - S.mean(0) - moves * Xh * (S * Xh).mean(0))
    return (e**2).mean(), X.T @ dZ, (S * Xh).sum(0), S.sum(0), -2 / N * (B * (B > 0)).T @ e


@bnbench.variant(
    "jacobian", family="matrix", supports={"activations": ["sigmoid"], "normalizations": "batch", "ddof": 0}
)
def jacobian(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps):
    """The Jacobian of each node, written out; says what it supports."""
    assert (activation, normalization, ddof) == ("sigmoid", "batch", 0)
    Z = X @ G1
    N, p2 = Z.shape
    s = np.sqrt(Z.var(0) + eps)
    Xh = (Z - Z.mean(0)) / s
    A = 0.5 * (1 + np.tanh((gamma * Xh + beta) / 2))
    e = y - A @ G2
    S = -2 / N * np.outer(e, G2) * A * (1 - A)
    dZ = np.empty_like(Z)
    for j in range(p2):
        J = (np.eye(N) - 1 / N - np.outer(Xh[:, j], Xh[:, j]) / N) * gamma[j] / s[j]
        dZ[:, j] = J.T @ S[:, j]
    return e @ e / N, X.T @ dZ, (S * Xh).sum(0), S.sum(0), -2 / N * A.T @ e


@bnbench.variant("node-by-node", family="loops")
def node_by_node(X, y, G1, gamma, beta, G2, eps=2e-3):
    """Two loops and nothing vectorised but the rows; an eps of its own; its own order of the sums."""
    n, k = X.shape[0], G1.shape[1]
    out = np.zeros((n, k), X.dtype)
    kept = []
    for j in range(k):
        z = X.dot(G1[:, j])
        m = z.sum() / n
        v = ((z - m) * (z - m)).sum() / n
        r = 1 / np.sqrt(v + 0.002)
        out[:, j] = np.maximum(gamma[j] * (z - m) * r + beta[j], 0)
        kept.append((z, m, r))
    e = out.dot(G2) - y
    dG1, dgamma, dbeta = np.zeros_like(G1), np.zeros_like(gamma), np.zeros_like(beta)
    for j, (z, m, r) in enumerate(kept):
        d = 2 * e * G2[j] / n
        d[out[:, j] <= 0] = 0
        dbeta[j] = d.sum()
        dgamma[j] = (d * (z - m)).sum() * r
        dz = gamma[j] * r * (d - dbeta[j] / n - (z - m) * r * dgamma[j] / n)
        dG1[:, j] = dz.dot(X)
    return e.dot(e) / n, dG1, dgamma, dbeta, 2 * out.T.dot(e) / n


class OnlyOne(bnbench.Variant):
    """A class that supports one ddof and one eps alone."""

    name = "class-of-one"
    family = "matrix"

    @classmethod
    def unsupported(cls, problem, regime):
        asked = problem.activation, problem.normalization, problem.ddof, problem.eps
        return "" if asked == ("relu", "batch", 0, 1e-5) else "relu, batch, ddof=0 and eps=1e-5 alone"

    def step(self):
        self.answer = course_staged(*self.batch)

    def result(self):
        return bnbench.Gradients(*self.answer)


RIGHT = {
    "course-staged": "ddof=0 is built in, eps=1e-05 is built in, relu is built in",
    "course-closed": "ddof=0 is built in, relu is built in",
    "textbook-class": "ddof=0 is built in, eps=1e-06 is built in, relu is built in",
    "caffe": "ddof=0 is built in, eps=1e-05 is built in, relu is built in",
    "darknet": "ddof=0 is built in, eps=1e-05 is built in, relu is built in",
    "mlpack": "ddof=0 is built in, eps=1e-08 is built in, relu is built in",
    "r-scale": "ddof=1 is built in, there is no eps",
    "matlab": "ddof=0 is built in, eps=0.001 is built in, relu is built in",
    "tensors": "ddof=0 only",
    "bessel-tanh": "ddof=1 is built in, eps=1e-05 is built in, tanh is built in",
    "moments": "ddof=0 is built in, relu is built in",
    "outside-the-root": "ddof=1 is built in, eps=0.001 is built in, eps is added to the standard deviation, outside "
    "the root, relu is built in",
    "floor": "ddof=0 is built in, eps=1e-05 is built in, eps is the least variance and is not added, relu is built in",
    "jacobian": "ddof=0 only",
    "node-by-node": "ddof=0 is built in, eps=0.002 is built in, relu is built in",
    "class-of-one": "ddof=0 only, eps=1e-05 only",
}

# Name: the step, its edits (what, by what, one after the other), the mistake that must be named.
WRONG = {
    "statistics held constant": (
        "course-closed",
        [("N * dout - dbeta - x_hat * dgamma", "N * dout")],
        "mu-and-s-constant",
    ),
    "no mean term": ("tensors", [("grad_output - sum_dy / len(y) -", "grad_output -")], "no-mu-term"),
    "no s-term": ("textbook-class", [("dxc += (2.0 / self.batch_size) * self.xc * dvar", "pass")], "no-s-term"),
    "γ missing": ("course-closed", [("(gamma / (N *", "(1 / (N *")], "no-gamma"),
    "γ missing from the first term": (
        "tensors",
        [
            ("gamma * invstd * (grad_output", "invstd * (grad_output"),
            ("- sum_dy /", "- gamma * sum_dy /"),
            ("- xhat * sum_dy_xhat /", "- gamma * xhat * sum_dy_xhat /"),
        ],
        "gamma-missing",
    ),
    "γ missing from the s-term": ("caffe", [("(top_diff * top).T", "(scaled_diff * top).T")], "gamma-missing"),
    "sign of the s-term": ("mlpack", [("std_inv**3 * -0.5", "std_inv**3 * 0.5")], "sign-of-s-term"),
    "sign of the mean term": ("darknet", [("* (-1 / np.sqrt", "* (1 / np.sqrt")], "sign-of-mu-term"),
    "a sum for the mean": ("darknet", [("+ mean_delta / real(batch)", "+ mean_delta")], "sum-for-mean"),
    "a sum in the s-term": ("tensors", [("xhat * sum_dy_xhat / len(y)", "xhat * sum_dy_xhat")], "sum-for-mean"),
    "all divided by N": (
        "node-by-node",
        [("gamma[j] * r * (d - dbeta", "gamma[j] * r * (d / n - dbeta")],
        "mean-for-sum",
    ),
    "dγ and dβ are means": (
        "matlab",
        [("np.sum(dout * xhat, 0", "np.mean(dout * xhat, 0"), ("np.sum(dout, 0", "np.mean(dout, 0")],
        "mean-for-sum",
    ),
    "N for N-1 in the s-term": ("bessel-tanh", [("* 2 * (Z - mu) / (N - 1)", "* 2 * (Z - mu) / N")], "N-for-N-ddof"),
    "N-1 for N in the s-term": ("tensors", [("sum_dy_xhat / len(y))", "sum_dy_xhat / (len(y) - 1))")], "N-1-for-N"),
    "eps outside the root, forward": (
        "course-closed",
        [("sample_mean) / np.sqrt(sample_var + eps)", "sample_mean) / (np.sqrt(sample_var) + eps)")],
        "eps-outside-root",
    ),
    "eps forgotten backward": (
        "course-closed",
        [("(N * np.sqrt(sample_var + eps", "(N * np.sqrt(sample_var")],
        "eps-forgotten",
    ),
    "1/s for the variance": (
        "caffe",
        [("bottom_diff) / temp", "bottom_diff) / np.sqrt(1 / temp + 1e-5)")],
        "inverse-s-for-variance",
    ),
    "the variance for s, rightly derived": (
        "course-staged",
        [("sqrtvar = np.sqrt(var + eps)", "sqrtvar = var + eps"), ("0.5 * 1.0 / np.sqrt(var + eps) * ds", "ds")],
        "variance-for-s",
    ),
    "the square for the root": (
        "course-closed",
        [("(N * np.sqrt(sample_var", "(N * np.square(sample_var")],
        "square-for-root",
    ),
    "a sum without its axis": ("course-staged", [("dbeta = np.sum(dout, axis=0)", "dbeta = np.sum(dout)")], "no-axis"),
    "a mean without its axis": ("floor", [("(S - S.mean(0) -", "(S - S.mean() -")], "no-axis"),
    "a half missing": ("textbook-class", [("dvar = 0.5 * dstd", "dvar = dstd")], "half"),
    "swapped": ("caffe", [("bottom_diff, dgamma, dbeta,", "bottom_diff, dbeta, dgamma,")], "swapped-outputs"),
    "γ in dγ": ("mlpack", [("np.sum(normalized * gy,", "np.sum(normalized * norm,")], "gamma-in-dgamma"),
    "Z - μ for X̂ in dγ": (
        "node-by-node",
        [("(d * (z - m)).sum() * r", "(d * (z - m)).sum()"), ("r * dgamma[j] / n", "r * r * dgamma[j] / n")],
        "not-normalised",
    ),
    "only the diagonal": ("jacobian", [("= J.T @ S[:, j]", "= np.diag(J) * S[:, j]")], "diagonal-only"),
    "the derivative at A": ("bessel-tanh", [("(1 - H * H)", "(1 - np.tanh(H) ** 2)")], "derivative-at"),
    "a' is 1": ("moments", [("np.outer(e, G2) * (b > 0)", "np.outer(e, G2)")], "derivative-1"),
}
