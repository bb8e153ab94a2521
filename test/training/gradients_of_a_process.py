"""One process of a run: the gradients of its part of the data. Arguments: pickled parts and network, group, output."""

import os
import pickle
import sys
from pathlib import Path

import torch

from scal3r_ros.training.forward import ChunkContext, forward_chunks
from scal3r_ros.training.losses import LossConfig, loss_of
from scal3r_ros.training.parallel import join_run

torch.set_num_threads(1)
parts, model = pickle.loads(Path(sys.argv[1]).read_bytes())
run = join_run(int(sys.argv[2]), ("cpu",))
batch = parts[run.place.in_group + run.place.group * run.place.replica]
dense = list(range(batch.layout.all_frames))
outputs = forward_chunks(
    model,
    batch.images,
    batch.previous,
    batch.layout,
    dense,
    within=batch.within,
    context=ChunkContext.JOINT,
    reduce=run.reduce,
)
loss_of(outputs, batch, dense, LossConfig(gradient=0.0)).total.backward()
run.average(model)
rank = os.environ.get("RANK", "0")
torch.save(torch.cat([p.grad.flatten() for p in model.parameters()]), f"{sys.argv[3]}.{rank}")
run.close()
