"""A stand-in for an onnxruntime with GPU providers: real sessions on the CPU behind it.

What it pretends is what the documentation and the GPU wheel on a machine without a GPU show:
providers are offered whether they work or not, and one that does not start is left out of
`get_providers` (a missing library) or raises (no device).
"""

from __future__ import annotations

from typing import Any

import onnxruntime as real

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"


class FakeOrt:
    """`working` providers start, `raising` ones raise at the start, others are left out.

    With `refuse_graph` a session with a CUDA graph does not start. Everything asked for is
    kept: `events` in order ("preload", then the names a session was opened with), `sessions`
    their providers with options, `buffers` (shape, device, device id) of every OrtValue.
    """

    def __init__(
        self,
        available: list[str],
        working: list[str] | None = None,
        raising: list[str] | None = None,
        refuse_graph: bool = False,
        cuda_version: str = "12.8",
    ) -> None:
        self.__version__ = "1.26.0"
        self.cuda_version = cuda_version
        self.available = available
        self.working = {*(available if working is None else working), CPU}
        self.raising = raising or []
        self.refuse_graph = refuse_graph
        self.events: list[Any] = []
        self.sessions: list[list[tuple[str, dict[str, Any]]]] = []
        self.buffers: list[tuple[tuple[int, ...], str, int]] = []
        self.runs: list[dict[str, Any]] = []
        self.fail_runs = False
        self.SessionOptions = real.SessionOptions
        fake = self

        class OrtValue:
            @staticmethod
            def ortvalue_from_shape_and_type(
                shape: list[int], kind: Any, device: str, device_id: int
            ) -> Any:
                fake.buffers.append((tuple(shape), device, device_id))
                return real.OrtValue.ortvalue_from_shape_and_type(shape, kind, "cpu", 0)

        self.OrtValue = OrtValue

    def get_available_providers(self) -> list[str]:
        return self.available

    def preload_dlls(self) -> None:
        self.events.append("preload")
        if CUDA not in self.working:
            print("Failed to load libcudnn.so.9: cannot open shared object file")
            print("Please follow the instructions")

    def InferenceSession(self, path: str, options: Any, *, providers: Any, **more: Any) -> Any:
        names = [name for name, _ in providers]
        self.events.append(names)
        self.sessions.append(providers)
        for name, asked in providers:
            if name in self.raising:
                raise RuntimeError(
                    "/source/cuda_call.cc:122 void onnxruntime::CudaCall(int)\n"
                    "CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; file=/source"
                )
            if self.refuse_graph and str(asked.get("enable_cuda_graph")) == "1":
                raise RuntimeError(
                    "This session cannot use the graph capture feature as requested by the user"
                )
        session = real.InferenceSession(path, options, providers=[CPU], **more)
        return _Session(self, session, [pair for pair in providers if pair[0] in self.working])


class _Session:
    """A real session on the CPU that says it runs on other providers."""

    def __init__(self, fake: FakeOrt, session: Any, providers: Any) -> None:
        self._fake, self._session, self._providers = fake, session, providers

    def get_providers(self) -> list[str]:
        names = [name for name, _ in self._providers]
        return names if CPU in names else [*names, CPU]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return {
            name: {"device_id": "0", **{key: str(value) for key, value in options.items()}}
            for name, options in self._providers
        }

    def run_with_iobinding(self, binding: Any, options: Any = None) -> None:
        if self._fake.fail_runs:
            raise RuntimeError("CUDA error: out of memory")
        self._fake.runs.append({"providers": self.get_providers()})
        self._session.run_with_iobinding(binding, options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)
