"""The product's command line with stand-ins for the tasks of its flows."""

from flows.cli import load, main

if __name__ == "__main__":
    load("deploy")
    import flows.deploy
    import flows.promote
    import flows.teardown
    from tests.support.standin.tasks import stand_in

    for module in (flows.deploy, flows.promote, flows.teardown):
        stand_in(vars(module))
    main()
