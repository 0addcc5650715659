"""Attention is fused: it saves what a GPU's flash kernel saves."""

import pytest
import torch
import torch.nn.functional as F


def inputs(dtype=torch.float32, length=24, width=16):
    return [torch.randn(2, 3, length, width, dtype=dtype) for _ in range(3)]


def attend(tensors, **options):
    leaves = [t.detach().requires_grad_() for t in tensors]
    out = F.scaled_dot_product_attention(*leaves, **options)
    out.backward(torch.ones_like(out))
    return [out.detach().cpu()] + [leaf.grad.cpu() for leaf in leaves]


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_attention_equals_the_cpus(dtype, options):
    tensors = inputs(dtype)
    ours = attend([t.to("sim") for t in tensors], **options)
    for a, b in zip(ours, attend(tensors, **options), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("boolean", [True, False])
def test_masked_attention_equals_the_cpus(boolean):
    tensors = inputs()
    mask = torch.rand(24, 24) > 0.3 if boolean else torch.randn(24, 24)
    ours = attend([t.to("sim") for t in tensors], attn_mask=mask.to("sim"))
    for a, b in zip(ours, attend(tensors, attn_mask=mask), strict=True):
        torch.testing.assert_close(a, b)


def test_attention_never_saves_the_matrix_of_weights():
    q, k, v = (t.to("sim").requires_grad_() for t in inputs(length=64, width=8))
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    on_device = [t for t in saved if t.device.type == "sim"]
    assert sorted(t.numel() for t in on_device) == sorted([q.numel()] * 4 + [q.numel() // 8])
    assert any(t.data_ptr() == out.data_ptr() for t in on_device)


def test_dropout_in_attention_takes_the_unfused_path_and_is_reproducible():
    tensors = [t.to("sim") for t in inputs()]
    results = []
    for _ in range(2):
        torch.manual_seed(1)
        results.append(attend(tensors, dropout_p=0.5))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert not torch.equal(results[0][0], attend(tensors)[0])


def test_attention_of_different_lengths_equals_the_cpus():
    q, _, _ = inputs(length=5)
    _, k, v = inputs(length=24)
    ours = attend([t.to("sim") for t in (q, k, v)])
    for a, b in zip(ours, attend([q, k, v]), strict=True):
        torch.testing.assert_close(a, b)
