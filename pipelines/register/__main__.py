from pipelines.register.register import run
from pipelines.stage import stage_main

if __name__ == "__main__":
    stage_main("register", run, kind="recipe")
