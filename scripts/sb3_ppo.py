#!/usr/bin/env python3
"""Trains Stable-Baselines3's PPO on a feature file and judges it on the held-out days, as `train` judges its own.

    pip install ./crates/envpool/python stable-baselines3
    scripts/sb3_ppo.py data/features/BPCL.parquet --timesteps 2000000

Both go through the same server, rules and costs; so do the baselines that the policy is printed beside.
"""

import argparse
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", nargs="+", help="feature files that featgen made")
    parser.add_argument("--envpool", default="envpool", help="the server's program (default: %(default)s)")
    parser.add_argument("--market", default="nse", choices=("nse", "none"), help="rules and costs")
    parser.add_argument("--test-days", type=int, default=30, help="trading days held out (default: %(default)s)")
    parser.add_argument("--envs", type=int, default=256, help="environments (default: %(default)s)")
    parser.add_argument("--timesteps", type=int, default=2_000_000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="where networks live (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        import numpy as np
        from stable_baselines3 import PPO

        import envpool_client
        from envpool_client.sb3 import Sb3VecEnv
    except ImportError as error:
        parser.exit(1, f"sb3_ppo.py: {error} (pip install ./crates/envpool/python stable-baselines3)\n")

    server = [
        arguments.envpool, "--market", arguments.market, "--test-days", str(arguments.test_days), *arguments.features
    ]  # fmt: skip
    env = envpool_client.VectorEnv(command=server, num_envs=arguments.envs, seed=arguments.seed)
    # The settings of `train ppo`: 128 steps a rollout, four minibatches, four passes.
    model = PPO(
        "MlpPolicy", Sb3VecEnv(env), n_steps=128, batch_size=32 * arguments.envs, n_epochs=4, learning_rate=1e-3,
        ent_coef=0.01, policy_kwargs={"net_arch": [64, 64]}, seed=arguments.seed, device=arguments.device, verbose=1,
    )  # fmt: skip
    begun = time.monotonic()
    model.learn(arguments.timesteps)
    print(f"{model.num_timesteps / (time.monotonic() - begun):,.0f} steps/s")

    def likeliest(rows: np.ndarray) -> np.ndarray:
        return model.predict(rows, deterministic=True)[0]

    print("policy       ", envpool_client.evaluate(likeliest, connection=env.connection))
    # An account that holds for good knows two actions: 0 is nothing, 1 is all of it.
    for name, action in (("buy and hold", 1), ("flat", 0)):
        outcome = envpool_client.evaluate(
            lambda rows, action=action: np.full(len(rows), action), connection=env.connection, hold_account=True
        )
        print(f"{name:13}", outcome)
    env.close()


if __name__ == "__main__":
    main()
