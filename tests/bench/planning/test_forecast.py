import pytest

from bench.planning.forecast import Forecast
from bench.planning.growth_law import Seconds
from bench.planning.stage_cost import StageCost


def test_workers_divide_what_they_share_and_nothing_else() -> None:
    rows = (
        StageCost("tiles", seconds=Seconds(40.0, 80.0, 120.0), is_spread=True),
        StageCost("checkpoint", seconds=Seconds(5.0, 10.0, 15.0)),
        StageCost("other cells"),  # cannot be forecast
    )
    forecast = Forecast(rows, 1.0, False, ())
    assert forecast.total.expected == pytest.approx(90)
    shared = forecast.on_workers(4)
    assert (shared.low, shared.expected, shared.high) == pytest.approx((15, 30, 45))
