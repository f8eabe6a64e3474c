"""What the driver says about the device: cache size, clocks and what throttles them. No library is imported."""

import contextlib
import ctypes
from typing import Any

from bnbench.cuda.available import no_device

L2_CACHE_SIZE = 38  # CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE
L2_UNKNOWN = 2**27
SM_CLOCK, MEMORY_CLOCK, TEMPERATURE = 1, 2, 0  # NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU
HELD_DOWN = {  # nvmlClocksThrottleReason…; an idle device and clocks that somebody set are not listed
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}


def l2_bytes() -> int:
    """Bytes of the first device's L2 cache; if the driver does not say, more than any has today."""
    size = ctypes.c_int(0)
    with contextlib.suppress(OSError, AttributeError):
        if not no_device():
            ctypes.CDLL("libcuda.so.1").cuDeviceGetAttribute(ctypes.byref(size), L2_CACHE_SIZE, 0)
    return size.value or L2_UNKNOWN


def clocks() -> dict[str, Any]:
    """`sm_mhz`, `memory_mhz`, `celsius` and `held_down` (what holds the clocks down, in words) of the first device.

    By NVML; what it does not report is left out, which is everything without NVML.
    """
    state: dict[str, Any] = {}
    try:
        nvml, device = handle()
        number, reasons = ctypes.c_uint(0), ctypes.c_ulonglong(0)
        for name, ask, kind in (
            ("sm_mhz", nvml.nvmlDeviceGetClockInfo, SM_CLOCK),
            ("memory_mhz", nvml.nvmlDeviceGetClockInfo, MEMORY_CLOCK),
            ("celsius", nvml.nvmlDeviceGetTemperature, TEMPERATURE),
        ):
            if ask(device, kind, ctypes.byref(number)) == 0:
                state[name] = number.value
        if nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device, ctypes.byref(reasons)) == 0:
            state["held_down"] = ", ".join(word for bit, word in HELD_DOWN.items() if reasons.value & bit)
    except (OSError, AttributeError):
        pass  # no NVML here, or one without that question
    return state


def handle() -> tuple[Any, Any]:
    """NVML, and its handle of the device that CUDA counts first; an OSError where there is none."""
    driver, nvml = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1")
    address, device = ctypes.create_string_buffer(32), ctypes.c_void_p()
    error = driver.cuInit(0) or driver.cuDeviceGetPCIBusId(address, len(address), 0)
    error = error or nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByPciBusId_v2(address, ctypes.byref(device))
    if error:
        raise OSError(f"NVML does not know the device (error {error})")
    return nvml, device
