"""Layers of other libraries: autograd Functions, custom VJPs, modules; and PyTorch's own check."""

import numpy as np
import pytest

import bnbench

torch = pytest.importorskip("torch")


class Normalise(torch.autograd.Function):
    """As extensions are written: what is saved for backward, and None for what has no gradient."""

    @staticmethod
    def forward(ctx, x, gamma, beta, eps):
        mu, var = x.mean(dim=0), x.var(dim=0, unbiased=False)
        rstd = torch.rsqrt(var + eps)
        xhat = (x - mu) * rstd
        ctx.save_for_backward(xhat, gamma, rstd)
        return gamma * xhat + beta

    @staticmethod
    def backward(ctx, dy):
        xhat, gamma, rstd = ctx.saved_tensors
        dx = gamma * rstd * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0))
        return dx, (dy * xhat).sum(0), dy.sum(0), None


class NormaliseNewStyle(torch.autograd.Function):
    @staticmethod
    def forward(x, gamma, beta):
        var, mu = torch.var_mean(x, 0, unbiased=False)
        return gamma * (x - mu) * torch.rsqrt(var + 1e-5) + beta

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, dy):
        x, gamma, _ = ctx.saved_tensors
        var, mu = torch.var_mean(x, 0, unbiased=True)  # the mistake: N-1 for N
        rstd = torch.rsqrt(var + 1e-5)
        xhat = (x - mu) * rstd
        return gamma * rstd * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0)), (dy * xhat).sum(0), dy.sum(0)


class Module(torch.nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(num_features, dtype=torch.float64))
        self.bias = torch.nn.Parameter(torch.zeros(num_features, dtype=torch.float64))

    @torch.no_grad()
    def forward(self, x):
        self.rstd = (x.var(dim=(0, 2, 3), unbiased=False, keepdim=True) + 1e-5).rsqrt()
        self.xhat = (x - x.mean(dim=(0, 2, 3), keepdim=True)) * self.rstd
        return self.weight.view(1, -1, 1, 1) * self.xhat + self.bias.view(1, -1, 1, 1)

    @torch.no_grad()
    def backward(self, dy):
        m = dy.numel() / dy.shape[1]
        self.grad_weight, self.grad_bias = (dy * self.xhat).sum((0, 2, 3)), dy.sum((0, 2, 3))
        terms = self.grad_bias.view(1, -1, 1, 1) + self.xhat * self.grad_weight.view(1, -1, 1, 1)
        return self.weight.view(1, -1, 1, 1) * self.rstd * (dy - terms / m)


# catches: an adapter that hands a layer of tensors arrays, or reads a gradient from the wrong place
def test_layers_of_tensors_are_judged_as_they_are():
    found = bnbench.check_layer(Normalise)
    assert found.correct, str(found)
    assert found.conventions.eps_argument
    assert found.conventions.ddof == 0
    new = bnbench.check_layer(NormaliseNewStyle)
    assert not new.correct
    assert "Σ(x-μ)²/(N-1)" in new.findings["dx"], str(new)
    module = bnbench.check_layer(Module, layout="NCHW")
    assert module.correct, str(module)
    assert set(module.findings) == {"dx", "dgamma", "dbeta"}


# catches: float32's rounding taken for a mistake, and a mistake taken for it
def test_a_layer_in_float32_is_right_and_a_mistake_in_it_is_found():
    def forward(x, gamma, beta):
        x = x.float()
        rstd = (x.var(0, unbiased=False) + 1e-5).rsqrt()
        xhat = (x - x.mean(0)) * rstd
        return gamma.float() * xhat + beta.float(), (xhat, rstd, gamma.float())

    def backward(dy, cache, c=1.0):
        xhat, rstd, gamma = cache
        dy = dy.float()
        return gamma * rstd * (dy - dy.mean(0) - c * xhat * (dy * xhat).mean(0)), (dy * xhat).sum(0), dy.sum(0)

    found = bnbench.check_layer(forward, backward)
    assert found.correct, str(found)
    assert any("float32" in remark for remark in found.remarks)
    wrong = bnbench.check_layer(forward, lambda dy, cache: backward(dy, cache, -1.0))
    assert not wrong.correct
    assert wrong.terms["c"] == "-1", str(wrong)


# catches: a custom VJP called by other rules than JAX's, or in float32 without a word
def test_a_custom_vjp_is_judged_as_jax_calls_it():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    def make(mean_term):
        @jax.custom_vjp
        def normalise(x, gamma, beta):
            return forward(x, gamma, beta)[0]

        def forward(x, gamma, beta):
            rstd = jax.lax.rsqrt(x.var(0) + 1e-3)
            xhat = (x - x.mean(0)) * rstd
            return gamma * xhat + beta, (xhat, rstd, gamma)

        def backward(saved, dy):
            xhat, rstd, gamma = saved
            dx = gamma * rstd * (dy - mean_term * dy.mean(0) - xhat * jnp.mean(dy * xhat, 0))
            return dx, (dy * xhat).sum(0), dy.sum(0)

        normalise.defvjp(forward, backward)
        return normalise

    right, wrong = bnbench.check_layer(make(1.0)), bnbench.check_layer(make(0.0))
    assert right.correct, str(right)
    assert (right.conventions.eps, right.conventions.eps_place) == (1e-3, "variance")
    assert wrong.terms["b"] == "0", str(wrong)


# catches: a planted mistake below gradcheck's tolerance, so that a good check is called unable
def test_gradcheck_on_a_random_cotangent_is_able():
    def check(forward, backward):
        class Layer(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, gamma, beta):
                out, ctx.cache = forward(x, gamma, beta)
                return out

            @staticmethod
            def backward(ctx, dout):
                return backward(dout, ctx.cache)

        rng = np.random.default_rng(1)
        x = torch.tensor(rng.normal(size=(7, 3)) * [0.5, 2.0, 4.0], requires_grad=True)
        gamma, beta = (torch.tensor(rng.normal(size=3) + 1.5, requires_grad=True) for _ in range(2))
        w = torch.tensor(rng.normal(size=(7, 3)))
        return torch.autograd.gradcheck(lambda *args: (Layer.apply(*args) * w).sum(), (x, gamma, beta))

    found = bnbench.can_fail(check)
    assert found.able, str(found)
