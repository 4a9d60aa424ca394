"""The pooling by itself; what holds for every pooling is checked by the harness."""

import harness_quantile
import pytest
import torch

VALUES = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
OFFSETS = torch.tensor([0, 5, 6, 9])


def test_at_the_ends_it_is_the_least_and_the_largest_value():
    for q, wanted in ((0.0, torch.amin), (1.0, torch.amax)):
        pooled = harness_quantile.make(q=q)(VALUES, OFFSETS)
        assert torch.equal(pooled[0], wanted(VALUES[:5], dim=0))


def test_in_the_middle_it_is_the_median_of_an_odd_number():
    assert torch.equal(harness_quantile.make(q=0.5)(VALUES, OFFSETS)[0], VALUES[:5].median(dim=0).values)


def test_what_is_no_share_is_refused():
    with pytest.raises(ValueError, match="q=2"):
        harness_quantile.make(q=2)
