"""Lightning's trainer: its options, what ends a training, its files, its processes."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, LambdaCallback, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from xflowrl.agents.ppo.checkpoint import num_processes_of, save_whole
from xflowrl.agents.ppo.ranks import Seat, Together
from xflowrl.agents.ppo.training import PPOModule
from xflowrl.shortage import space_for


class _WholeFiles(TorchCheckpointIO):
    """Writes checkpoints beside their place: Lightning may write to another file system first."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Writes one, whole or not at all."""
        save_whole(checkpoint, Path(path))


def train(
    module: PPOModule,
    options: Mapping[str, Any],
    seat: Seat,
    *,
    max_s: float | None,
    max_wall_s: float | None,
    patience: int | None,
    folder: Path | None,
    checkpoint_every: int,
    resume: str | None,
    keep_best_fn: Callable[[], None],
) -> None:
    """Trains until a limit is reached: iterations, seconds, or iterations without progress.

    Args:
        options: of Lightning's Trainer.
        seat: of this process among those that train together.
        folder: where `resume.ckpt` is kept, every so many iterations; None: nowhere.
        resume: such a file, of the training to go on with.
        keep_best_fn: called after an iteration whose policy is the best so far.

    Raises:
        ValueError: an option that does not exist, or does not fit this training.
    """
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    expected = "many workers|Checkpoint directory|dirpath has changed|callbacks used to|LeafSpec"
    warnings.filterwarnings("ignore", f".*({expected}).*")

    def keep_best(trainer: pl.Trainer, module: PPOModule) -> None:
        if module.is_best:
            keep_best_fn()

    limits = {
        "seconds": max_s,
        "wall_s": max_wall_s,
        "idle_iterations": None if patience is None else patience - 1,
    }

    def stay_ended(trainer: pl.Trainer, module: PPOModule) -> None:
        """A training that a limit ended does not make one more iteration."""
        spent = module.spent()
        trainer.should_stop = any(m is not None and spent[name] > m for name, m in limits.items())

    callbacks: list[pl.Callback] = [LambdaCallback(on_train_epoch_end=keep_best)]
    if resume is not None:
        callbacks.append(LambdaCallback(on_train_start=stay_ended))
    callbacks += [end_above(name, limit) for name, limit in limits.items() if limit is not None]
    if folder is not None:
        every = {"every_n_epochs": checkpoint_every, "enable_version_counter": False}
        callbacks.append(ModelCheckpoint(folder, "resume", **every))
    given = f"agent.trainer {dict(options)}"

    def new_trainer(**changes: Any) -> pl.Trainer:
        return pl.Trainer(
            **{**options, **changes},
            max_epochs=module.num_iterations,
            logger=False,
            enable_checkpointing=folder is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=callbacks,
            plugins=[_WholeFiles(), seat],
        )

    is_ours = options["strategy"] in ("auto", "ddp")
    try:
        trainer = new_trainer(**({"strategy": "auto"} if is_ours else {}))
        if is_ours and trainer.world_size > 1:
            unused = module.policy.settings.head == "flat"  # it has no scores for rules
            trainer = new_trainer(strategy=Together(find_unused_parameters=unused))
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise ValueError(f"{given}: {' '.join(str(error).split())}") from None
    if not is_ours or trainer.num_nodes > 1:
        raise ValueError(
            f"{given}: the processes of a training are of one machine and average their "
            f"gradients; give strategy=auto and num_nodes=1"
        )
    if trainer.precision not in ("32-true", "bf16-mixed"):
        # Gradients would be clipped while they are scaled, or inputs not be of weights' type.
        raise ValueError(f"{given}: precision is 32-true or bf16-mixed here")
    num_processes = trainer.world_size
    if resume is not None and (before := num_processes_of(resume)) != num_processes:
        raise ValueError(
            f"agent.resume={resume}: a training by {before} processes, not {num_processes}; give "
            f"agent.trainer.devices={before}"
        )
    meeting = seat.meeting(num_processes) if num_processes > 1 else nullcontext()
    try:
        with meeting, space_for((folder or Path()) / "resume.ckpt"):
            trainer.fit(module, ckpt_path=resume, weights_only=True)
    except MisconfigurationException as error:  # an option that fits no manual optimisation
        raise ValueError(f"{given}: {error}") from None


def end_above(name: str, limit: float) -> EarlyStopping:
    """Ends training after the iteration in which a number that the module logs exceeds `limit`.

    Lightning's `Timer` counts the timing of operators too; `EarlyStopping`'s own patience knows one
    quantity, and a resume takes the saved patience for the given one. So the module counts, and of
    `EarlyStopping` only the threshold is used.
    """
    return EarlyStopping(name, mode="max", stopping_threshold=limit, patience=sys.maxsize)
