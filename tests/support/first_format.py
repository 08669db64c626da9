"""Catalogues as the code before stored them, in stored format 1: whole subscriptions, and one version for all.

A load raised the version twice. In between it said in the profile when it was last heard of.
"""

from meterstone.store.catalogue.records import encode_document
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import key_item
from meterstone.usage.subscription import Subscription
from support.memory_table import MemoryTable
from support.scenario import ORGANIZATION, Scenario, World
from support.stored import memory

_PROFILE = keys.organization(ORGANIZATION.id, "profile")
_ONE = {":one": {"N": "1"}}


def in_first_format(world: World) -> World:
    """Have a world stored as the code before would have done."""
    table = memory(world)
    prefixes = (f"{ORGANIZATION.id}#external#", f"{ORGANIZATION.id}#customer#")
    table.delete_all(
        key
        for key in list(table.items())
        if (key.pk.startswith(prefixes) and key.sk == "#") or key.sk.startswith("price#")
    )
    meters = {"doc": {"S": encode_document(world.scenario.meters)}}
    table.put(key_item(keys.organization(ORGANIZATION.id, "meters")) | meters)
    for each in world.scenario.subscriptions:
        put_subscription(table, each)
    table.update(_PROFILE, "REMOVE stored_format", {})
    return world


def load(table: MemoryTable, scenario: Scenario, now: int) -> None:
    """Store another catalogue of the same meters."""
    begin_load(table, now)
    for each in scenario.subscriptions:
        put_subscription(table, each)
    end_load(table)


def begin_load(table: MemoryTable, now: int) -> None:
    """Do what a load does at first."""
    table.update(_PROFILE, "SET loading_at = :now ADD ver :one", _ONE | {":now": {"N": str(now)}})


def put_subscription(table: MemoryTable, each: Subscription) -> None:
    """Store a subscription, and where it is found."""
    for mention in (
        keys.catalogue(ORGANIZATION.id, "subscription", each.id),
        keys.of_customer(ORGANIZATION.id, each.customer_id, each.id),
        keys.by_external_id(ORGANIZATION.id, each.external_id, each.id),
    ):
        table.put(key_item(mention) | {"id": {"S": each.id}})
    document = {"doc": {"S": encode_document(each)}}
    table.put(key_item(keys.subscription(ORGANIZATION.id, each.id)) | document)


def end_load(table: MemoryTable) -> None:
    """Do what a load does at last."""
    table.update(_PROFILE, "REMOVE loading_at ADD ver :one", _ONE)
