"""Curation on a Ray cluster of three nodes of this machine: `python cluster_run.py RECIPE DIR [--lose-a-node]`."""

import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from openklear.recipe.load import load_recipe
from openklear.run.pipeline import run_pipeline


def main(recipe: Path, root: Path, lose_a_node: bool) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        lost = threading.Event()
        if lose_a_node:
            threading.Thread(target=remove_in_the_middle, args=(cluster, nodes[0], root, lost), daemon=True).start()
        overrides = ("data.engine.type=ray", f"data.engine.address={cluster.address}")
        run_pipeline(load_recipe(recipe, overrides), root, through="prepare")
        print("a node was lost:", lost.is_set())
        cluster.wait_for_nodes(timeout=90)  # the cluster takes some seconds to notice
        print("nodes left:", sum(node["Alive"] for node in ray.nodes()))
    finally:
        ray.shutdown()
        cluster.shutdown()  # also forgets the address, where every later `ray.init()` of the machine would look for it


def remove_in_the_middle(cluster: Cluster, node: object, root: Path, lost: threading.Event) -> None:
    """Kill the node's processes once the first step over the demonstrations has begun."""
    while not list((root / "prepare.work").glob("demonstrations-read-*")):
        time.sleep(0.01)
    cluster.remove_node(node, allow_graceful=False)
    lost.set()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "--lose-a-node" in sys.argv)
