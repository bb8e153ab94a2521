"""The lifecycle node `mapper`: a camera's images in, its pose and the map out."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Generic, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage

from scal3r_ros.errors import Scal3rError
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.nodes.mapper.outcome import Outcome
from scal3r_ros.nodes.mapper.session import STOP_TIMEOUT_S, MappingSession
from scal3r_ros.nodes.ros.parameters import DeclaredParameters, NodeConfig
from scal3r_ros.nodes.ros.qos import STATIC_TRANSFORMS
from scal3r_ros.nodes.ros.transforms import StaticTransforms

ConfigT = TypeVar("ConfigT", bound=NodeConfig)

RESET_TIMEOUT_S = 5.0
"""How long the service `~/reset` waits for the chunk at hand before it answers."""


class MapperNode(LifecycleNode, Generic[ConfigT]):
    """Transitions, services and parameters; the work is in `MappingSession`.

    `config` is the dataclass of all parameters, `build` makes the mapper of one; both act at `configure`.
    """

    def __init__(self, config: type[ConfigT], build: Callable[[ConfigT], OnlineMapper], **node_arguments: Any) -> None:
        super().__init__("mapper", automatically_declare_parameters_from_overrides=True, **node_arguments)
        self._build = build
        self._declared = DeclaredParameters(self, config, self._apply)
        self._session: MappingSession | None = None
        self._statics = StaticTransforms()
        self._give_up = threading.Event()
        self._finalized = False
        self.exit_code: int | None = None
        self.stopped = True
        self.create_subscription(
            TFMessage, "/tf_static", lambda message: self._statics.add(message.transforms), STATIC_TRANSFORMS
        )
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self.create_service(Trigger, "~/resume", self._on_resume)
        apart = ReentrantCallbackGroup()  # else nothing else is called back until their answer is there
        self.create_service(Trigger, "~/save_map", self._on_save_map, callback_group=apart)
        self.create_service(Trigger, "~/load_map", self._on_load_map, callback_group=apart)

    def start(self) -> None:
        """Configures and activates, where the parameter `autostart` says so."""
        if not self.get_parameter("autostart").value:
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def finish(self) -> None:
        """Shuts down, where a lifecycle manager has not done so before."""
        if not self._finalized:
            self.trigger_shutdown()

    def give_up(self) -> None:
        """Ends a drain that is under way; may be called from a signal handler."""
        self._give_up.set()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Reads the parameters and builds the mapper; FAILURE with one message where a parameter is wrong."""
        return self._guard("configure", self._configure, lambda: super(MapperNode, self).on_configure(state))

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes to the camera."""
        return self._guard("activate", lambda: super(MapperNode, self).on_activate(state), self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops the input and maps what was received."""
        return self._guard("deactivate", self._deactivate, lambda: super(MapperNode, self).on_deactivate(state))

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forgets the map and frees the mapper, as soon as the chunk at hand is done."""
        return self._guard("clean up", self._close)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops at once; with a `result_directory` what was received is mapped and written before."""
        self._finalized = True
        return self._guard("shut down", self._complete, lambda: self._close(STOP_TIMEOUT_S))

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, from where another configure may follow."""
        return self._guard("recover", self._close)

    def _guard(self, transition: str, *steps: Callable[[], object]) -> TransitionCallbackReturn:
        """Runs a transition; rclpy itself would swallow what a callback raises."""
        try:
            for step in steps:
                step()
        except Scal3rError as error:
            self.get_logger().error(f"cannot {transition}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.get_logger().fatal(f"cannot {transition}, by a defect: {type(error).__name__}: {error}")
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        config = self._declared.read()
        with ExitStack() as undo:
            mapper = self._build(config)
            undo.callback(mapper.close)
            self._session = MappingSession(self, config, mapper, self._statics)
            undo.pop_all()
        self._declared.in_use = True

    def _activate(self) -> None:
        if self._session is not None:
            self._give_up.clear()
            self._session.activate()

    def _deactivate(self) -> None:
        if self._session is not None:
            self._session.deactivate(self._give_up.is_set)

    def _complete(self) -> None:
        if self._session is not None and self._session.active and self._session.records:
            self._session.deactivate(self._give_up.is_set)

    def _apply(self) -> None:
        if self._session is not None:
            self._session.apply(self._declared.read())

    def _close(self, timeout_s: float = math.inf) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            self._declared.in_use = False
            self.stopped = session.close(self._give_up.is_set, timeout_s) and self.stopped

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._session is None:
            return _answer(response, False, "the node is not configured, so there is no map to reset")
        if self._session.reset(RESET_TIMEOUT_S):
            return _answer(response, True, "map and trajectory are empty")
        return _answer(response, True, "the map will be reset as soon as the chunk at hand is done")

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        return self._pause(response, request.data)

    def _on_resume(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._pause(response, False)

    async def _on_save_map(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return await self._run(response, MappingSession.save_map)

    async def _on_load_map(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return await self._run(response, MappingSession.load_map)

    async def _run(self, response: Any, begin: Callable[[MappingSession, Path], Future[str] | None]) -> Any:
        """Answers when the work on the folder of the parameter `map_directory` is done; the node goes on meanwhile."""
        folder = str(self.get_parameter("map_directory").value)
        if self._session is None:
            return _answer(response, False, "the node is not configured, so there is no map to save or replace")
        if not folder:
            return _answer(response, False, "the parameter map_directory is empty; set it to the folder of the map")
        work = begin(self._session, Path(folder))
        if work is None:
            return _answer(response, False, "a map is being saved or loaded already; try again when that is done")
        success, sentence = await Outcome(work)
        if success:
            self.get_logger().info(sentence)
        else:
            self.get_logger().error(sentence)
        return _answer(response, success, sentence)

    def _pause(self, response: Any, paused: bool) -> Any:
        if self._session is None:
            return _answer(response, False, "the node is not configured, so there is nothing to pause")
        self._session.pause(paused)
        return _answer(response, True, "paused: images are ignored until ~/resume" if paused else "running")


def _answer(response: Any, success: bool, message: str) -> Any:
    response.success = success
    response.message = message
    return response
