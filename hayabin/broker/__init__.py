"""The conveyor belt: RabbitMQ in production, an embedded one on Postgres where nothing may be installed."""

from hayabin.broker.connection import connect
from hayabin.broker.interface import Broker, Delivery, Outgoing, Parked, PublishFailed, Subscription, Trouble

__all__ = ["Broker", "Delivery", "Outgoing", "Parked", "PublishFailed", "Subscription", "Trouble", "connect"]
