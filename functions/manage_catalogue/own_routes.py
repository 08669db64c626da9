"""The own routes that change the catalogue: `PUT`, `PATCH` and `DELETE /catalogue/v1/…`."""

from collections.abc import Callable
from typing import Final, assert_never

from meterstone.catalogue.management import (
    KINDS,
    CatalogueConflictError,
    KindOfRecord,
    Management,
    RecordRefusedError,
    Revision,
    StaleRecordError,
    UnknownRecordError,
)
from meterstone.contracts import catalogue
from meterstone.contracts import catalogue_changes as changes
from meterstone.contracts.catalogue_changes import End, OtherCommitment, OtherPlan
from meterstone.contracts.message import Reply, Request
from meterstone.edge.application import Answer, Application
from meterstone.scope import Scope
from meterstone.store.catalogue.accounts import Account, AccountStore

type Route = Callable[[Management, KindOfRecord, Request], Reply]

_READING: Final = "GET"


def add_own_routes(app: Application[Account], store: AccountStore) -> None:
    """Register the routes, which work on the table of a store. Another function answers what only reads."""
    for kind in KINDS:
        path = f"/catalogue/v1/{kind}s/{{id}}"
        routes = {"PUT": put, "DELETE": delete} | ({"PATCH": patch} if kind == "subscription" else {})
        app.answered_elsewhere(path, _READING)
        for method, route in routes.items():
            app.route(method, path, catalogue, scope=Scope.CATALOGUE)(_in_own_words(route, kind, store))


def put(management: Management, kind: KindOfRecord, request: Request) -> Reply:
    """Store a record whole: make it, or let it say something else."""
    name = changes.parse_id(request)
    condition = changes.parse_condition(request)
    forced = changes.parse_force(request)
    record = changes.parse_record(request)
    version = None if condition.version is None else Revision(condition.version, condition.made_at)
    if condition.there and management.get(kind, name) is None:
        return changes.refuse_stale()
    for_all = changes.parse_for_all(record) if kind == "plan" else None
    if for_all is not None:
        put_plan, recount = management.offer_to_all(name, for_all.record, for_all.at, if_match=version)
        return changes.answer(put_plan.stored, created=put_plan.created, recount=recount)
    done = management.put(kind, name, record, if_match=version, forced=forced)
    return changes.answer(done.stored, created=done.created, recount=done.recount)


def patch(management: Management, kind: KindOfRecord, request: Request) -> Reply:
    """Change a subscription: its end, its plan or its commitment."""
    name = catalogue.path_id(request, kind)
    changes.refuse_condition(request)
    forced = changes.parse_force(request)
    change = changes.parse_change(request)
    match change:
        case End():
            done = management.end(name, change.at, forced=forced)
        case OtherPlan():
            done = management.change_plan(name, change.plan, change.at, forced=forced)
        case OtherCommitment():
            done = management.change_commitment(name, change.commitment)
        case _:
            assert_never(change)
    return changes.answer(done.stored, recount=done.recount)


def delete(management: Management, kind: KindOfRecord, request: Request) -> Reply:
    """Delete a record that nothing needs. The answer has it as it was, or a meter with the instant of its end."""
    name = catalogue.path_id(request, kind)
    changes.refuse_condition(request)
    return changes.answer(management.delete(kind, name))


def _in_own_words(route: Route, kind: KindOfRecord, store: AccountStore) -> Answer[Account]:
    """Answer by a route, and write in the own shape what the catalogue refuses."""

    def answer(account: Account, request: Request) -> Reply:
        try:
            return route(Management(store.table, account), kind, request)
        except RecordRefusedError as error:
            return changes.refuse_record(error.errors)
        except CatalogueConflictError as error:
            return changes.refuse_conflict(error.path, error.reason, error.earliest)
        except StaleRecordError:
            return changes.refuse_stale()
        except UnknownRecordError as error:
            return catalogue.unknown(error.kind, error.id)

    return answer
