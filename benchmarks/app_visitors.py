"""Visitors who move sliders at once: each gets their own picture, every request an answer, and memory is steady.

    python benchmarks/app_visitors.py [--visitors 20] [--minutes 10] [--model faces64] [--out visitors.json]
    python benchmarks/app_visitors.py --model tiny --minutes 1       # a network of a few thousand weights

Starts `hspace app` as a process of its own on a free port of the loopback, and visitors who speak the page's own
protocol: cookie, session and heartbeat; events through the queue and those that follow them; the sliders that the
server renders; pictures through the route of files. Each has a seed and two sliders, and moves one to a tenth, or
several times in quick succession; then all requests are over, the words below the picture have to name what was asked
for last, and the picture has to be, pixel for pixel, the one that this process draws of it with the same code and the
same number of threads (afterwards, so that nothing is measured while it draws). Resident memory is read every second;
what it does after the warm-up, a fifth of the time and at most two minutes, is judged over five minutes and more.

Every wait is bounded. Ends with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import hashlib
import importlib
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image

import hspace
from hspace.app import exports
from hspace.app.painter import Painter
from hspace.app.scene import Scene
from hspace.cli.session import open_sampler
from hspace.directions import BUNDLED, Directions

API = "/gradio_api"
PATIENCE = 300.0  # seconds for any answer: twenty pictures may stand before it, on a busy machine
PLACES = 4  # of each of a visitor's two sliders, besides 0: so many scenes that they can be drawn again
STEADY = 0.05  # of the resident memory, as a growth over the time that is judged
LONG = 300.0  # seconds from which on memory is judged


@dataclass
class Tally:
    """What happened."""

    bursts: int = 0
    moves: int = 0
    requests: int = 0
    previews: list[float] = field(default_factory=list)
    pictures: list[float] = field(default_factory=list)
    shown: dict[tuple[Any, ...], Counter[str]] = field(default_factory=dict)  # hashes of pixels by scene
    wrong: list[str] = field(default_factory=list)

    def saw(self, scene: Scene, png: bytes) -> None:
        """A picture, as somebody got it for that scene."""
        self.shown.setdefault(_key(scene), Counter())[_hash(Image.open(io.BytesIO(png)))] += 1


class Page:
    """What Gradio's page does in a browser, for one visitor."""

    def __init__(self, address: str, tally: Tally) -> None:
        # The server hangs up on connections that are idle for 5 s. A browser would ask again, httpx does not.
        limits = httpx.Limits(keepalive_expiry=2)
        self.http = httpx.AsyncClient(base_url=address, timeout=PATIENCE, trust_env=False, limits=limits)
        self.session = "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=11))
        self.tally = tally
        self.components: dict[int, dict[str, Any]] = {}
        self.events: dict[int, dict[str, Any]] = {}
        self.values: dict[int, Any] = {}
        self.waiting: dict[str, int] = {}  # events under way
        self.early: dict[str, list[dict[str, Any]]] = {}  # messages that overtook the answer to their request
        self.parts: dict[str, list[Any]] = {}  # what events that go on have shown
        self.words: list[tuple[float, str]] = []  # as they appeared
        self._tasks: set[asyncio.Task[None]] = set()
        self._joining = 0
        self._in_order = asyncio.Lock()
        self._stream: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Until the first picture is there."""
        (await self.http.get("/")).raise_for_status()
        config = (await self.http.get("/config")).raise_for_status().json()
        self._take(config)
        self._start(self._beat())
        for event in [each for each in config["dependencies"] if any(kind == "load" for _, kind in each["targets"])]:
            self.trigger(event["id"])
        await self.settled()

    def _take(self, config: dict[str, Any]) -> None:
        for component in config["components"]:
            self.components[component["id"]] = component
            self.values[component["id"]] = component["props"].get("value")
        for event in config["dependencies"]:
            self.events[event["id"]] = event

    def named(self, **props: str) -> int:
        """The component with these properties that came last: sliders are rendered anew."""
        return max(
            number
            for number, component in self.components.items()
            if all(component["props"].get(key) == value for key, value in props.items())
        )

    def input(self, component: int, value: Any) -> None:
        """Somebody changes a value."""
        self.values[component] = value
        self._happens(component, "input")

    def _happens(self, component: int, what: str) -> None:
        for number, event in self.events.items():
            if [component, what] in event["targets"]:
                self.trigger(number)

    def trigger(self, event: int) -> None:
        """An event begins, with the values of now."""
        states = {number for number, component in self.components.items() if component["type"] == "state"}
        data = [None if number in states else self.values[number] for number in self.events[event]["inputs"]]
        self._joining += 1
        self._start(self._join(event, data))

    async def _join(self, event: int, data: list[Any]) -> None:
        try:
            body = {"data": data, "fn_index": event, "session_hash": self.session, "event_data": None}
            self.tally.requests += 1
            async with self._in_order:  # as they were made: a browser's requests reach a loopback so
                answer = await self.http.post(f"{API}/queue/join", json=body)
            if answer.status_code != 200:
                self.tally.wrong.append(f"request refused: {answer.status_code} {answer.text[:200]}")
                return
            name = answer.json()["event_id"]
            self.waiting[name] = event
            for message in self.early.pop(name, []):
                self._hear(message)
        finally:
            self._joining -= 1
        if self.waiting and (self._stream is None or self._stream.done()):
            self._stream = self._start(self._listen())

    async def _listen(self) -> None:
        """The stream of answers, opened anew for as long as answers are missing."""
        while self.waiting:
            async with self.http.stream("GET", f"{API}/queue/data", params={"session_hash": self.session}) as stream:
                if stream.status_code != 200:
                    self.tally.wrong.append(f"answers refused: {stream.status_code}")
                    return
                async for line in stream.aiter_lines():
                    if line.startswith("data:"):
                        self._hear(json.loads(line[5:]))

    def _hear(self, message: dict[str, Any]) -> None:
        name = message.get("event_id") or ""
        if message["msg"] == "unexpected_error":
            self.tally.wrong.append(f"an answer failed: {str(message)[:200]}")
        if name and name not in self.waiting:
            self.early.setdefault(name, []).append(message)
        elif message["msg"] == "process_generating" and message["success"]:
            output, before = message["output"], self.parts.get(name)
            if before is not None:  # all but the first tell what has changed
                output["data"] = [_changed(*each) for each in zip(before, output["data"], strict=True)]
            self.parts[name] = copy.deepcopy(output["data"])
            self._show(self.waiting[name], output)
        elif message["msg"] == "process_completed":
            self.parts.pop(name, None)
            event, done = self.waiting.pop(name), message["success"]
            if done:
                self._show(event, message["output"])
            elif message["output"].get("visible", True):
                self.tally.wrong.append(f"an event failed: {str(message['output'])[:200]}")
            for number, other in self.events.items():
                only = other.get("trigger_only_on_failure" if done else "trigger_only_on_success")
                if other.get("trigger_after") == event and not only:
                    self.trigger(number)

    def _show(self, event: int, output: dict[str, Any]) -> None:
        for number, value in zip(self.events[event]["outputs"], output.get("data") or [], strict=False):
            if isinstance(value, dict) and value.get("__type__") == "update":
                if "value" not in value:
                    continue
                value = value["value"]
            self.values[number] = value
            if number == self.named(elem_id="words") and value:
                self.words.append((time.monotonic(), value))
        if rendered := output.get("render_config"):
            self._take(rendered)
        for state in output.get("changed_state_ids") or []:
            self._happens(state, "change")

    async def settled(self) -> None:
        """Until nothing is under way.

        Raises:
            TimeoutError: A request was lost.
        """
        async with asyncio.timeout(PATIENCE):
            while self._joining or self.waiting:
                await asyncio.sleep(0.005)

    async def file(self, value: dict[str, Any]) -> bytes:
        """The picture of a component."""
        answer = await self.http.get(value["url"])
        if answer.status_code != 200:
            self.tally.wrong.append(f"a picture refused: {answer.status_code}")
        return answer.content

    async def _beat(self) -> None:
        async with self.http.stream("GET", f"{API}/heartbeat/{self.session}", timeout=None) as stream:
            async for _ in stream.aiter_lines():
                pass

    def _start(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.tally.wrong.append(f"a connection failed: {type(error).__name__}: {error}")

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.http.aclose()


async def visit(number: int, address: str, directions: Directions, until: float, tally: Tally) -> None:
    """One visitor, from the first page to the last picture."""
    chance = random.Random(number)
    names = chance.sample(sorted(each.name for each in directions), 2)
    places = {name: [0.0, *(chance.randint(-50, 50) / 10 for _ in range(PLACES))] for name in names}
    by_name = {each.name: each for each in directions}
    scene, page = Scene(), Page(address, tally)
    try:
        await page.open()
        began = time.monotonic()
        page.input(page.named(elem_id="seed"), number)
        scene = Scene(seed=number)
        await page.settled()
        await check(page, scene, by_name, began, tally, None)
        while time.monotonic() < until:
            began = time.monotonic()
            for _ in range(chance.choice((1, 1, 2, 4))):
                name = chance.choice(names)
                place = chance.choice([x for x in places[name] if x != scene.strengths.get(name, 0.0)] or [0.0])
                scene, began = scene.moved(name, place), time.monotonic()
                page.input(page.named(label=name), place)
                tally.moves += 1
                await asyncio.sleep(chance.uniform(0, 0.1))
            tally.bursts += 1
            await page.settled()
            await check(page, scene, by_name, began, tally, number)
            await asyncio.sleep(chance.uniform(0, 0.5))
    except TimeoutError:
        tally.wrong.append(f"visitor {number}: {len(page.waiting)} requests without an answer in {PATIENCE:.0f} s")
    except Exception as error:
        tally.wrong.append(f"visitor {number}: {type(error).__name__}: {error}")
    finally:
        await page.close()


async def check(
    page: Page, scene: Scene, directions: dict[str, Any], began: float, tally: Tally, measured: int | None
) -> None:
    """Words, picture, before and after of what was asked for last."""
    edit = scene.edit(directions)
    what = f"seed {scene.seed}" + (f", {edit.name}" if edit else "") + ": preview in "
    words = str(page.values[page.named(elem_id="words")])
    if not (words.startswith(what) and ", picture in " in words):
        tally.wrong.append(f"asked for {what!r}, and was told {words!r}")
        return
    if measured is not None:
        told = [(at, text) for at, text in page.words if at >= began and text.startswith(what)]
        tally.previews += [at - began for at, _ in told[:1]]
        tally.pictures += [at - began for at, text in told if "picture in" in text][:1]
    page.words.clear()
    before, after = page.values[page.named(elem_id="compared")]
    tally.saw(scene, await page.file(page.values[page.named(elem_id="picture")]))
    tally.saw(scene, await page.file(after))
    tally.saw(scene.reset(), await page.file(before))


def verify(tally: Tally, painter: Painter, directions: Directions) -> int:
    """Draws every scene that was shown; the number of them."""
    by_name = {each.name: each for each in directions}
    for (seed, *strengths), seen in sorted(tally.shown.items()):
        scene = Scene(seed=seed, strengths=dict(strengths))
        mine = _hash(exports.picture(painter.draw(scene, by_name)))
        if set(seen) != {mine}:
            tally.wrong.append(f"{scene.to_json()}: {sum(seen.values()) - seen[mine]} of {sum(seen.values())} differ")
    return len(tally.shown)


def _changed(value: Any, changes: list[Any]) -> Any:
    """As Gradio's pages read what has changed."""
    root: Any = {"value": copy.deepcopy(value)}
    for action, path, new in changes:
        steps: list[Any] = ["value", *path]
        way, last, here = steps[:-1], steps[-1], root
        for step in way:
            here = here[step]
        if action == "append":
            here[last] += new
        elif action == "delete":
            del here[last]
        elif action == "add" and isinstance(here, list):
            here.insert(last, new)
        else:
            here[last] = new
    return root["value"]


def _key(scene: Scene) -> tuple[Any, ...]:
    return (scene.seed, *sorted(scene.strengths.items()))


def _hash(image: Image.Image) -> str:
    pixels = np.asarray(image.convert("RGB"))
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def tiny_model(folder: Path) -> tuple[str, Path]:
    """A network of a few thousand weights as a diffusers folder, and directions of it."""
    torch.manual_seed(0)
    blocks = {
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (4, 8),
    }
    network = UNet2DModel(sample_size=8, layers_per_block=1, norm_num_groups=2, attention_head_dim=4, **blocks)
    network.save_pretrained(folder / "model" / "unet")
    DDIMScheduler(num_train_timesteps=100, clip_sample=False).save_pretrained(folder / "model" / "scheduler")
    sampler = hspace.Sampler(hspace.load(folder / "model", device="cpu"), 4, 0.0, batch_size=1)
    found = hspace.PCA(3).fit(sampler, range(12)).directions_
    strong = Directions([(30.0 * item).renamed(item.name) for item in found])
    strong.save(folder / "pcs.safetensors")
    return str(folder / "model"), folder / "pcs.safetensors"


@contextmanager
def serving(model: str, directions: Path, steps: int, threads: int, folder: Path) -> Iterator[tuple[str, int]]:
    """`hspace app` as a process: its address and its number. Its temporary files go to a folder of their own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hspace", "app", "--model", model, "--directions", str(directions)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--steps", str(steps), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TMPDIR": str(folder), "HF_HUB_OFFLINE": "1"}
    environment.pop("GRADIO_TEMP_DIR", None)
    with (folder.parent / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        address, until = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(address, timeout=10, trust_env=False).status_code == 200:
                    break
            if server.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the app did not start:\n{(folder.parent / 'server.log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield address, server.pid
        server.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(20)
    finally:
        server.kill()
        server.wait(20)


def resident(process: int) -> float:
    """MB."""
    try:
        psutil = importlib.import_module("psutil")
    except ImportError:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
        return int(found[1]) / 1024 if found else float("nan")
    return float(psutil.Process(process).memory_info().rss) / 2**20


async def watch(process: int, samples: list[tuple[float, float]]) -> None:
    began = time.monotonic()
    while True:
        samples.append((time.monotonic() - began, resident(process)))
        await asyncio.sleep(1)


def memory(samples: list[tuple[float, float]], minutes: float) -> dict[str, float]:
    """Slope and spread after the warm-up."""
    warm = min(120.0, minutes * 60 / 5)
    t, mb = np.array([sample for sample in samples if sample[0] >= warm] or samples[-1:]).T
    slope = float(np.polyfit(t / 60, mb, 1)[0]) if len(t) > 2 else 0.0
    return {
        "first": samples[0][1],
        "after_warm_up": float(mb[0]),
        "last": float(mb[-1]),
        "median": float(np.median(mb)),
        "spread": float(mb.max() - mb.min()),
        "slope_a_minute": slope,
        "growth": slope * float(t[-1] - t[0]) / 60,
        "seconds": float(t[-1] - t[0]),
    }


async def day(address: str, process: int, directions: Directions, visitors: int, minutes: float, tally: Tally) -> Any:
    """All visitors at once; memory meanwhile."""
    samples: list[tuple[float, float]] = []
    watching = asyncio.create_task(watch(process, samples))
    until = time.monotonic() + minutes * 60
    await asyncio.gather(*(visit(number, address, directions, until, tally) for number in range(1, visitors + 1)))
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--model", default="faces64", help="tiny, a bundled one, or a folder (with --directions)")
    parser.add_argument("--directions", type=Path)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1, help="of the server, and of who draws again")
    parser.add_argument("--out", type=Path, help="the figures as JSON")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="app-visitors-") as folder:
        model, file = args.model, args.directions or BUNDLED.get(args.model)
        if model == "tiny":
            model, file = tiny_model(Path(folder))
        if file is None:
            parser.error("--directions is needed with a folder")
        directions = Directions.load(file)
        of_server = Path(folder) / "server"
        of_server.mkdir()
        with serving(model, file, args.steps, args.threads, of_server) as (address, process):
            samples = asyncio.run(day(address, process, directions, args.visitors, args.minutes, tally))
            kept = [path for path in of_server.rglob("*") if path.is_file()]
            disk = sum(path.stat().st_size for path in kept) / 2**20
        left = sorted(path.name for path in of_server.iterdir())
        if left:
            tally.wrong.append(f"left behind by the server: {', '.join(left[:3])}")
        log = (Path(folder) / "server.log").read_text(errors="replace")
        if "Traceback" in log:
            tally.wrong.append(f"a stack trace of the server: {log[log.index('Traceback') :][-2000:]}")
        tap = next((each.setting.tap for each in directions if each.setting.space == "h"), None)
        sampler = open_sampler(hspace.load(model, device="cpu", tap=tap), args.steps, "0", None, 1)
        scenes = verify(tally, Painter(sampler), directions)

    found = memory(samples, args.minutes)
    judged = found["seconds"] >= LONG
    if judged and found["growth"] > STEADY * found["median"]:
        tally.wrong.append(f"memory grows: {found['growth']:.0f} MB in {found['seconds']:.0f} s")
    if not tally.bursts:
        tally.wrong.append("nobody moved a slider")
    median, late = (
        {name: float(np.quantile(getattr(tally, name) or [np.nan], q)) for name in ("previews", "pictures")}
        for q in (0.5, 0.95)
    )
    pictures = sum(sum(seen.values()) for seen in tally.shown.values())
    print(
        f"{args.visitors} visitors, {args.minutes:g} minutes, {args.model}, {args.steps} steps, {args.threads} threads"
    )
    print(f"moves               {tally.moves:7d}     in {tally.bursts} bursts, {tally.requests} requests")
    print(f"pictures compared   {pictures:7d}     of {scenes} scenes")
    print(f"preview after a move{median['previews']:7.2f} s   median, {late['previews']:.2f} s in 95 %")
    print(f"picture after a move{median['pictures']:7.2f} s   median, {late['pictures']:.2f} s in 95 %")
    print(f"resident memory     {found['median']:7.0f} MB  median of {found['seconds']:.0f} s after the warm-up")
    print(f"  slope             {found['slope_a_minute']:7.2f} MB  a minute, spread {found['spread']:.1f} MB")
    print(
        f"  growth            {found['growth']:7.1f} MB  limit {STEADY * found['median']:.0f}"
        + " (not judged)" * (not judged)
    )
    print(f"files of the server {disk:7.1f} MB  {len(kept)} of them")
    print(f"wrong               {len(tally.wrong):7d}")
    for line in tally.wrong[:20]:
        print(f"  {line}")
    if args.out is not None:
        figures = {
            **{name: getattr(args, name) for name in ("visitors", "minutes", "model", "steps", "threads")},
            **{name: getattr(tally, name) for name in ("bursts", "moves", "requests", "wrong")},
            **{"pictures": pictures, "scenes": scenes, "median": median, "late": late, "memory": found},
            **{"disk": disk, "files": len(kept), "resident": samples},
        }
        args.out.write_text(json.dumps(figures, indent=1))
    sys.exit(1 if tally.wrong else 0)


if __name__ == "__main__":
    main()
