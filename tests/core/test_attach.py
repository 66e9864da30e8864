from __future__ import annotations

import copy
import io
from collections.abc import Callable

import lth_core as lth
import pytest
import torch
from lth_core.attaching import zero_pruned
from lth_core.errors import ExactnessError, MaskError
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from . import ddp_worker
from .helpers import Backbone, Classifier, MMLike, MoCoLike, bits, random_masks, state_bits


def data(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return (
        torch.randn(6, 3, 8, 8, generator=generator),
        torch.randint(5, (6,), generator=generator),
    )


def loss_of(model: Callable[[Tensor], Tensor], step: int) -> Tensor:
    x, y = data(step)
    return F.cross_entropy(model(x), y)


def sparse(seed: int = 0, keep: float = 0.1) -> tuple[nn.Module, lth.MaskSet]:
    """A classifier and masks at 90 % sparsity."""
    torch.manual_seed(seed)
    model = Classifier(width=8)
    return model, random_masks(model, keep)


def require_zeros(model: nn.Module, masks: lth.MaskSet, optimizer: Optimizer, prefix="") -> None:
    """Bits of +0.0 in weights; zeros in gradients and in every state of the weights' shape."""
    states = 0
    for name, mask in masks.items():
        parameter = model.get_parameter(prefix + name)
        pruned = parameter.detach()[~mask]
        assert not any(bits(pruned)), f"weight {name}"
        assert parameter[mask].ne(0).any()
        if parameter.grad is not None:
            assert not parameter.grad[~mask].any(), f"gradient {name}"
            assert parameter.grad[mask].any()
        for key, state in optimizer.state[parameter].items():
            if isinstance(state, Tensor) and state.shape == mask.shape:
                assert not state[~mask].any(), f"{key} of {name}"
                assert state[mask].any()
                states += 1
    assert states or not optimizer.defaults.get("momentum", 1)


# ---------------------------------------------------------------------------------------------
# The reference: weight * mask in the forward pass


def train_reference(model, masks, optimizer, steps, accumulate, clip) -> list[Tensor]:
    """Ordinary training in which every forward pass sees ``weight * mask``."""
    norms = []

    def forward(x: Tensor) -> Tensor:
        effective = {n: model.get_parameter(n) * mask for n, mask in masks.items()}
        return functional_call(model, effective, (x,))

    for step in range(steps):
        optimizer.zero_grad()
        for part in range(accumulate):
            (loss_of(forward, step * accumulate + part) / accumulate).backward()
        if clip is not None:
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), clip))
        optimizer.step()
    return norms


def train(model, optimizer, steps, accumulate=1, clip=None, link=None) -> list[Tensor]:
    norms = []
    for step in range(steps):
        optimizer.zero_grad()
        for part in range(accumulate):
            (loss_of(model, step * accumulate + part) / accumulate).backward()
        if clip is not None:
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), clip))
        optimizer.step()
        if link is not None:
            link.check()
    return norms


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("options", "accumulate", "clip"),
    [
        ({}, 1, None),
        ({"momentum": 0.9, "weight_decay": 5e-3}, 1, None),
        ({"momentum": 0.9, "weight_decay": 5e-3, "nesterov": True}, 1, None),
        ({"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1, "foreach": False}, 1, None),
        ({"momentum": 0.9, "weight_decay": 5e-3, "fused": True}, 1, None),
        ({"momentum": 0.9, "weight_decay": 5e-3}, 1, 0.3),
        ({"momentum": 0.9, "weight_decay": 5e-3}, 2, 0.3),
    ],
)
def test_50_sgd_steps_are_bit_equal_to_weight_times_mask(options, accumulate, clip, memory_format):
    model, masks = sparse()
    model = model.to(memory_format=memory_format)
    reference = copy.deepcopy(model)
    theirs = train_reference(
        reference, masks, SGD(reference.parameters(), 0.1, **options), 50, accumulate, clip
    )
    optimizer = SGD(model.parameters(), 0.1, **options)
    link = lth.attach(model, masks, optimizer)
    start = state_bits(model)
    ours = train(model, optimizer, 50, accumulate, clip, link)
    require_zeros(model, masks, optimizer)
    assert ours == theirs
    expected = reference.state_dict()
    for name, mask in masks.items():  # what the reference prunes goes its own way
        assert expected[name][~mask].any()
        expected[name] = expected[name].masked_fill(~mask, 0)
    for name, tensor in model.state_dict().items():
        assert bits(tensor) == bits(expected[name]), name
        assert bits(tensor) != start[name], f"{name} was not trained"


# ---------------------------------------------------------------------------------------------
# Zeros under every optimizer

OPTIMIZERS = {
    "sgd": lambda p: SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: Adam(p, 0.01, weight_decay=0.01),
    "adam, amsgrad": lambda p: Adam(p, 0.01, amsgrad=True),
    "adam, fused": lambda p: Adam(p, 0.01, fused=True),
    "adamw": lambda p: AdamW(p, 0.01, weight_decay=0.05),
    "adamw, one by one": lambda p: AdamW(p, 0.01, weight_decay=0.05, foreach=False),
    "rmsprop": lambda p: RMSprop(p, 0.01, momentum=0.9, centered=True),
}


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_exact_zeros_in_weights_gradients_and_states(make, clip):
    model, masks = sparse()
    optimizer = make(model.parameters())
    seen = []

    def record(*_):  # registered first, so it sees what backward() and clipping have left
        for name, mask in masks.items():
            seen.append(model.get_parameter(name).grad[~mask].any().item())

    optimizer.register_step_pre_hook(record)
    link = lth.attach(model, masks, optimizer)
    before = state_bits(model)
    train(model, optimizer, 10, clip=clip, link=link)
    require_zeros(model, masks, optimizer)
    assert seen == [False] * (10 * len(masks))
    assert all(state_bits(model)[name] != before[name] for name in masks)


def test_without_attach_the_same_training_fills_the_zeros():
    """Shows that the tests above can fail."""
    model, masks = sparse()
    zero_pruned(model, masks)
    optimizer = SGD(model.parameters(), 0.1)
    train(model, optimizer, 1)
    assert all(model.get_parameter(name)[~mask].any() for name, mask in masks.items())


def test_state_from_before_is_zeroed():
    model, masks = sparse()
    optimizer = Adam(model.parameters(), 0.01)
    train(model, optimizer, 3)
    link = lth.attach(model, masks, optimizer)
    require_zeros(model, masks, optimizer)
    link.check()
    train(model, optimizer, 3, link=link)
    require_zeros(model, masks, optimizer)


def test_live_weights_and_their_state_are_left_as_they_are():
    model, masks = sparse()
    optimizer = Adam(model.parameters(), 0.01)
    train(model, optimizer, 3)
    plain = copy.deepcopy(model)
    state = copy.deepcopy(optimizer.state_dict()["state"])
    lth.attach(model, masks, optimizer)
    for index, (name, parameter) in enumerate(model.named_parameters()):
        mask = masks.get(name, torch.ones(parameter.shape, dtype=torch.bool))
        assert bits(parameter[mask]) == bits(plain.get_parameter(name)[mask])
        for key in ("exp_avg", "exp_avg_sq"):
            now = optimizer.state_dict()["state"][index][key]
            assert bits(now[mask]) == bits(state[index][key][mask])


def test_several_optimizers():
    model, masks = sparse()
    head = SGD(model.fc.parameters(), 0.1)
    rest = AdamW([p for n, p in model.named_parameters() if not n.startswith("fc")], 0.01)
    loss_of(model, 0).backward()
    rest.step()
    link = lth.attach(model, masks, [head, rest])
    for step in range(3):
        head.zero_grad()
        rest.zero_grad()
        loss_of(model, step).backward()
        head.step()
        rest.step()
        link.check()
    require_zeros(model, masks, rest)


# ---------------------------------------------------------------------------------------------
# Gradients


def test_clip_norm_is_that_of_the_live_weights():
    model, masks = sparse(keep=0.1)
    zero_pruned(model, masks)
    free = copy.deepcopy(model)
    loss_of(free, 0).backward()
    live = torch.cat(
        [(p.grad[masks[n]] if n in masks else p.grad).flatten() for n, p in free.named_parameters()]
    )
    everything = torch.cat([p.grad.flatten() for p in free.parameters()])
    link = lth.attach(model, masks, SGD(model.parameters(), 0.1))
    loss_of(model, 0).backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    torch.testing.assert_close(norm, live.norm(), rtol=1e-6, atol=0)
    assert everything.norm() > 1.05 * live.norm()
    clipped = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(clipped.norm(), torch.tensor(1e-3), rtol=1e-3, atol=0)
    link.check()


def test_clip_by_value():
    model, masks = sparse()
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    link = lth.attach(model, masks, optimizer)
    loss_of(model, 0).backward()
    nn.utils.clip_grad_value_(model.parameters(), 1e-4)
    optimizer.step()
    link.check()
    require_zeros(model, masks, optimizer)


def by_assignment(parameter: nn.Parameter) -> None:
    parameter.grad = torch.ones_like(parameter)


def by_assignment_twice(parameter: nn.Parameter) -> None:
    parameter.grad = None
    parameter.grad = torch.ones_like(parameter)


def by_adding(parameter: nn.Parameter) -> None:
    parameter.grad.add_(1)


def by_copying(parameter: nn.Parameter) -> None:
    parameter.grad.copy_(torch.ones_like(parameter))


def by_foreach(parameter: nn.Parameter) -> None:
    torch._foreach_add_([parameter.grad], 1.0)


@pytest.mark.parametrize(
    "change", [by_assignment, by_assignment_twice, by_adding, by_copying, by_foreach]
)
@pytest.mark.parametrize("backward_first", [True, False])
def test_gradients_changed_by_hand_do_not_reach_the_optimizer(change, backward_first):
    """Gradient noise, sharpness-aware steps and averaging by hand write into ``grad``."""
    model, masks = sparse()
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    link = lth.attach(model, masks, optimizer)
    for step in range(3):
        if backward_first:
            optimizer.zero_grad()
            loss_of(model, step).backward()
        else:
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter)
        with torch.no_grad():
            for name in masks:
                change(model.get_parameter(name))
        optimizer.step()
        require_zeros(model, masks, optimizer)
        link.check()


def test_a_gradient_that_is_there_at_attach_is_masked():
    model, masks = sparse()
    loss_of(model, 0).backward()
    optimizer = SGD(model.parameters(), 0.1)
    lth.attach(model, masks, optimizer)
    for name, mask in masks.items():
        assert not model.get_parameter(name).grad[~mask].any()
        assert model.get_parameter(name).grad[mask].any()


def test_accumulated_gradients_are_the_masked_sum():
    model, masks = sparse()
    zero_pruned(model, masks)
    model.eval()  # batch statistics aside
    free = copy.deepcopy(model)
    lth.attach(model, masks)
    for step in range(3):
        loss_of(model, step).backward()
        loss_of(free, step).backward()
    for name, mask in masks.items():
        expected = free.get_parameter(name).grad * mask
        assert torch.equal(model.get_parameter(name).grad, expected)


def test_negative_zero_gradients_do_no_harm():
    """A product with a mask makes -0.0 of negative gradients; the weights stay +0.0."""
    model, masks = sparse()
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
    link = lth.attach(model, masks, optimizer)
    for sign in (-1.0, 1.0, -1.0):
        optimizer.zero_grad()
        sum(sign * p.sum() for p in model.parameters()).backward()
        name, mask = next(iter(masks.items()))
        gradient = model.get_parameter(name).grad
        assert torch.signbit(gradient[~mask]).all() == (sign < 0)
        optimizer.step()
        link.check()
    require_zeros(model, masks, optimizer)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
@pytest.mark.parametrize("where", ["pruned", "live"])
def test_overflow_stays_visible_and_is_no_error_of_the_masks(where, bad):
    """A gradient scaler must see it wherever it is, and skips the step."""
    model, masks = sparse()
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    link = lth.attach(model, masks, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    name, mask = next(iter(masks.items()))
    parameter = model.get_parameter(name)
    factor = torch.zeros_like(parameter)
    factor[mask if where == "live" else ~mask] = bad
    scaler.scale((parameter * factor).sum()).backward()
    assert not parameter.grad.isfinite().all()
    before = state_bits(model)
    link.check()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0
    assert state_bits(model) == before
    link.check()  # the bad gradient is still there
    optimizer.zero_grad()
    scaler.scale(loss_of(model, 0)).backward()
    scaler.step(optimizer)
    scaler.update()
    assert state_bits(model) != before
    require_zeros(model, masks, optimizer)


def test_a_training_that_has_diverged_is_called_that():
    model, masks = sparse()
    optimizer = SGD(model.parameters(), 0.1)
    link = lth.attach(model, masks, optimizer)
    sum(p.sum() * float("nan") for p in model.parameters()).backward()
    optimizer.step()
    with pytest.raises(ExactnessError, match=r"is not a number any more: .* diverged"):
        link.check()


@pytest.mark.parametrize("scaled", [False, True])
def test_bfloat16_autocast(scaled):
    model, masks = sparse()
    optimizer = AdamW(model.parameters(), 0.01)
    link = lth.attach(model, masks, optimizer)
    scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    for step in range(4):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, step)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        link.check()
    require_zeros(model, masks, optimizer)


def test_a_closure_that_runs_backward_inside_step():
    model, masks = sparse()
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    link = lth.attach(model, masks, optimizer)
    for step in range(3):

        def closure(step=step):
            optimizer.zero_grad()
            loss = loss_of(model, step)
            loss.backward()
            return loss

        optimizer.step(closure)
        link.check()
    require_zeros(model, masks, optimizer)


def test_a_weight_used_twice():
    model, masks = sparse()
    model.layer1.append(model.layer1[0])
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    link = lth.attach(model, masks, optimizer)
    train(model, optimizer, 3, link=link)
    require_zeros(model, masks, optimizer)


def test_a_compiled_model():
    model, masks = sparse()
    eager = copy.deepcopy(model)
    compiled = torch.compile(model, backend="aot_eager")
    optimizer = SGD(compiled.parameters(), 0.1, momentum=0.9)
    link = lth.attach(compiled, masks, optimizer)
    train(compiled, optimizer, 3, link=link)
    require_zeros(model, masks, optimizer)
    other = SGD(eager.parameters(), 0.1, momentum=0.9)
    lth.attach(eager, masks, other)
    train(eager, other, 3)
    torch.testing.assert_close(model.state_dict(), eager.state_dict())


# ---------------------------------------------------------------------------------------------
# Copies, wrappers, letting go


def test_weights_under_a_prefix_and_names_of_the_whole_model():
    for named_as in ("backbone", "model"):
        torch.manual_seed(0)
        model = MMLike()
        relative = random_masks(model.backbone)
        masks = relative if named_as == "backbone" else relative.with_prefix("backbone.")
        optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
        link = lth.attach(nn.DataParallel(model), masks, optimizer)
        for step in range(2):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()
            link.check()
        require_zeros(model, relative, optimizer, prefix="backbone.")


def test_the_model_stays_plain():
    model, masks = sparse()
    names, modules = list(model.state_dict()), [type(m) for m in model.modules()]
    lth.attach(model, masks, SGD(model.parameters(), 0.1))
    assert list(model.state_dict()) == names
    assert [type(m) for m in model.modules()] == modules
    assert not list(model.buffers(recurse=False))


def test_twins_are_zeroed_and_follow():
    torch.manual_seed(0)
    model = MoCoLike()
    masks = random_masks(model.encoder_q)
    optimizer = SGD(model.parameters(), 0.1)
    link = lth.attach(model, masks, optimizer)
    assert link.twins == ["encoder_k."]
    for step in range(3):
        optimizer.zero_grad()
        model(data(step)[0]).sum().backward()
        optimizer.step()
        with torch.no_grad():
            pairs = zip(model.encoder_q.parameters(), model.encoder_k.parameters(), strict=True)
            for query, key in pairs:
                key.lerp_(query, 0.01)
        link.check()
    for name, mask in masks.items():
        assert not model.encoder_k.get_parameter(name)[~mask].any()
        assert model.encoder_k.get_parameter(name)[mask].all()


def test_detach_lets_the_model_train_freely():
    model, masks = sparse()
    optimizer = SGD(model.parameters(), 0.1)
    link = lth.attach(model, masks, optimizer)
    before = state_bits(model)
    link.detach()
    assert state_bits(model) == before
    assert not optimizer._optimizer_step_pre_hooks
    loss_of(model, 0).backward()
    free = {name: model.get_parameter(name).grad.clone() for name in masks}
    assert all(free[name][~mask].any() for name, mask in masks.items())
    optimizer.step()
    assert all(model.get_parameter(name)[~mask].any() for name, mask in masks.items())
    link.detach()  # a second time does nothing


def test_attaching_again_with_smaller_masks():
    """The next level in one process."""
    model, masks = sparse(keep=0.5)
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    link = lth.attach(model, masks, optimizer)
    train(model, optimizer, 2, link=link)
    link.detach()
    smaller = lth.prune(model, masks, 0.5)
    link = lth.attach(model, smaller, optimizer)
    train(model, optimizer, 2, link=link)
    require_zeros(model, smaller, optimizer)


def test_a_deep_copy_is_a_free_model():
    model, masks = sparse()
    optimizer = SGD(model.parameters(), 0.1)
    link = lth.attach(model, masks, optimizer)
    loss_of(model, 0).backward()
    copied = copy.deepcopy(model)
    assert state_bits(copied) == state_bits(model)
    loss_of(copied, 0).backward()
    assert all(copied.get_parameter(name).grad[~mask].any() for name, mask in masks.items())
    optimizer.step()
    link.check()
    require_zeros(model, masks, optimizer)


def test_an_attached_model_can_be_pickled():
    model, masks = sparse()
    lth.attach(model, masks, SGD(model.parameters(), 0.1))
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    assert state_bits(torch.load(buffer, weights_only=False)) == state_bits(model)


def test_loading_weights_in_place_keeps_the_bond_and_is_checked():
    model, masks = sparse()
    link = lth.attach(model, masks, SGD(model.parameters(), 0.1))
    model.load_state_dict(Classifier(width=8).state_dict())
    with pytest.raises(ExactnessError, match=r"weight layer1\.0\.conv1\.weight has 5\d\d pruned"):
        link.check()
    zero_pruned(model, masks)
    link.check()
    loss_of(model, 0).backward()
    link.check()


# ---------------------------------------------------------------------------------------------
# check()


def spoil_weight(model, optimizer, name, index):
    model.get_parameter(name).data[index] = 1e-30


def spoil_gradient(model, optimizer, name, index):
    model.get_parameter(name).grad[index] = -1e-30


def spoil_state(model, optimizer, name, index):
    optimizer.state[model.get_parameter(name)]["exp_avg_sq"][index] = 1e-30


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_weight, r"weight layer1\.0\.conv2\.weight has 1 pruned"),
        (spoil_gradient, r"gradient of layer1\.0\.conv2\.weight has 1 pruned"),
        (spoil_state, r"optimizer state exp_avg_sq of layer1\.0\.conv2\.weight has 1 pruned"),
    ],
)
def test_check_finds_a_single_wrong_number(spoil, message):
    model, masks = sparse()
    optimizer = Adam(model.parameters(), 0.01)
    link = lth.attach(model, masks, optimizer)
    train(model, optimizer, 1, link=link)
    name = "layer1.0.conv2.weight"
    live = tuple(masks[name].nonzero()[0].tolist())
    spoil(model, optimizer, name, live)
    link.check()  # live weights may be anything
    pruned = tuple((~masks[name]).nonzero()[-1].tolist())
    spoil(model, optimizer, name, pruned)
    with pytest.raises(ExactnessError, match=message):
        link.check()


def test_check_finds_a_twin_that_strayed():
    model = MoCoLike()
    masks = random_masks(model.encoder_q)
    link = lth.attach(model, masks)
    link.check()
    model.encoder_k.layer1[0].conv1.weight.data.fill_(1)
    with pytest.raises(ExactnessError, match=r"twin encoder_k\.layer1\.0\.conv1\.weight"):
        link.check()


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_check_finds_a_parameter_that_is_no_longer_the_same(how):
    model, masks = sparse()
    link = lth.attach(model, masks)
    if how == "replaced":
        old = model.layer1[0].conv1.weight
        model.layer1[0].conv1.weight = nn.Parameter(old.detach().clone())
    else:
        model.layer1[0].conv1 = nn.Identity()
    with pytest.raises(ExactnessError, match=r"layer1\.0\.conv1\.weight was removed or replaced"):
        link.check()


def test_masks_of_another_model_are_refused_and_nothing_is_changed():
    model, _ = sparse()
    before = state_bits(model)
    optimizer = SGD(model.parameters(), 0.1)
    with pytest.raises(MaskError, match=r"\(8, 8, 3, 3\), not \(4, 4, 3, 3\)"):
        lth.attach(model, random_masks(Classifier(width=4)), optimizer)
    assert state_bits(model) == before
    assert not optimizer._optimizer_step_pre_hooks


def test_frozen_layers_are_masked_too():
    """mmdet freezes the first stages."""
    model, masks = sparse()
    model.layer1[0].conv1.requires_grad_(False)
    optimizer = SGD([p for p in model.parameters() if p.requires_grad], 0.1, momentum=0.9)
    link = lth.attach(model, masks, optimizer)
    train(model, optimizer, 2, link=link)
    assert not model.layer1[0].conv1.weight[~masks["layer1.0.conv1.weight"]].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype):
    torch.manual_seed(0)
    model = Backbone().to(dtype)
    masks = random_masks(model)
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    link = lth.attach(model, masks, optimizer)
    for step in range(3):
        optimizer.zero_grad()
        model(data(step)[0].to(dtype)).square().mean().backward()
        optimizer.step()
        link.check()
    require_zeros(model, masks, optimizer)


# ---------------------------------------------------------------------------------------------
# Two processes


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both processes have found."""
    directory = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(ddp_worker.work, (2, str(directory)), nprocs=2)
    return [torch.load(directory / f"rank{rank}.pth") for rank in range(2)]


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def require_zeros_on_both(ranks, name, masks) -> None:
    for rank in ranks:
        found = rank[name]
        assert len(found["gradients"]) == ddp_worker.STEPS
        for weight, mask in masks.items():
            assert not any(bits(found["state"][weight][~mask]))
            for tensors in (*found["gradients"], found["states"]):
                assert not tensors[weight][~mask].any()
                assert tensors[weight][mask].any()


@pytest.mark.parametrize("options", ddp_worker.OPTIONS)
def test_distributed_data_parallel(options, ranks, one_thread):
    """Both ranks end alike, and bit-equal to ``weight * mask`` with averaged gradients."""
    expected, norms = _two_ranks_in_one()
    _, masks = ddp_worker.start()
    one, other = (rank[options] for rank in ranks)
    assert torch.equal(one["norms"], other["norms"])
    torch.testing.assert_close(one["norms"], norms, rtol=1e-6, atol=0)
    for name, tensor in one["state"].items():
        assert bits(tensor) == bits(other["state"][name]), name
        assert bits(tensor) == bits(expected[name]), name
    require_zeros_on_both(ranks, options, masks)


def test_sync_batch_norm(ranks):
    """As one process that trains ``weight * mask`` with both ranks' data in one batch."""
    model, masks = ddp_worker.start(ddp_worker.NormedNet)
    zero_pruned(model, masks)
    optimizer = ddp_worker.optimizer_of(model)
    norms = []
    for step in range(ddp_worker.STEPS):
        batches = [ddp_worker.batch(rank, step) for rank in range(2)]
        x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
        effective = {n: model.get_parameter(n) * mask for n, mask in masks.items()}
        optimizer.zero_grad()
        F.cross_entropy(functional_call(model, effective, (x,)), y).backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.5))
        optimizer.step()
    one, other = (rank["synced"] for rank in ranks)
    torch.testing.assert_close(one["norms"], torch.stack(norms), rtol=1e-4, atol=0)
    for name, parameter in model.named_parameters():
        assert bits(one["state"][name]) == bits(other["state"][name]), name
        torch.testing.assert_close(one["state"][name], parameter.detach(), rtol=1e-4, atol=1e-6)
    require_zeros_on_both(ranks, "synced", masks)


def _two_ranks_in_one() -> tuple[dict[str, Tensor], Tensor]:
    model, masks = ddp_worker.start()
    optimizer = ddp_worker.optimizer_of(model)
    norms = []
    for step in range(ddp_worker.STEPS):
        total: dict[str, Tensor] = {}
        for rank in range(2):
            optimizer.zero_grad()
            x, y = ddp_worker.batch(rank, step)
            effective = {n: model.get_parameter(n) * mask for n, mask in masks.items()}
            F.cross_entropy(functional_call(model, effective, (x,)), y).backward()
            for name, parameter in model.named_parameters():
                half = parameter.grad / 2
                total[name] = total[name] + half if name in total else half
        for name, parameter in model.named_parameters():
            parameter.grad = total[name]
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.5))
        optimizer.step()
    state = model.state_dict()
    return state | {n: state[n].masked_fill(~m, 0) for n, m in masks.items()}, torch.stack(norms)
