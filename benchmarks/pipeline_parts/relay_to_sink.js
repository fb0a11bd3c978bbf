// Relays for whoever connects, and sends everything to one port of loopback.
'use strict'

exports.register = function () {
  this.sink_port = parseInt(this.config.get('sink_port'), 10)
}

exports.hook_connect = function (next, connection) {
  connection.relaying = true
  next()
}

exports.hook_get_mx = function (next) {
  next(OK, { priority: 0, exchange: '127.0.0.1', port: this.sink_port })
}
