"""Plans on this machine, corrected by what was measured on it: for the GPU named or found, or for any device."""

from engine.config.schema import RunConfig
from engine.hardware.detect import planned_device
from engine.hardware.gpu_catalog import Gpu
from engine.plan.other_card import plan_for
from engine.plan.plan import Plan, make_plan
from engine.run.calibration_store import read_calibration


def plan_here(config: RunConfig) -> Plan:
    """The plan for the device that the configuration names, or for the one found here. Where it names another card than
    is here, a warning of the plan has the figures of both."""
    gpu, found = planned_device(config)
    return plan_for(config, gpu, found, read_calibration)


def plan_on(config: RunConfig, gpu: Gpu) -> Plan:
    """The plan for a device, corrected by what was measured on it here."""
    return make_plan(config, gpu, read_calibration(gpu))
