#include "sim/races/knowledge.h"

#include "sim/device_type.h"

namespace storm::sim {

Actor Knowledge::actor_of(StreamName name) {
  const auto device = static_cast<size_t>(name.device);
  const auto number = static_cast<size_t>(name.stream);
  if (device >= actors_.size()) actors_.resize(device + 1);
  auto& of_device = actors_[device];
  if (number >= of_device.size()) of_device.resize(number + 1);
  if (of_device[number] == 0) {
    of_device[number] = kFirstStream + static_cast<Actor>(streams_.size());
    streams_.push_back({name, {}, 0, nullptr});
  }
  return of_device[number];
}

std::string Knowledge::name_of(Actor actor) const {
  if (actor == kHost) return "host";
  if (actor == kPinnedAllocator) return "pinned allocator";
  const StreamName& name = streams_[actor - kFirstStream].name;
  return "stream " + std::to_string(name.stream) + " of " + kDeviceName + ':' +
         std::to_string(name.device);
}

Knowledge::Stream& Knowledge::caught_up(Actor actor) {
  Stream& stream = streams_[actor - kFirstStream];
  if (stream.host_version == host_version_) return stream;
  stream.host_version = host_version_;
  if (stream.clock.join(host_)) stream.moment = nullptr;
  return stream;
}

const VectorClock& Knowledge::of_pinned_allocator() {
  pinned_allocator_.join(host_);
  return pinned_allocator_;
}

uint64_t Knowledge::tick(Actor actor) {
  Stream& stream = caught_up(actor);
  stream.moment = nullptr;
  return stream.clock.tick(actor);
}

Moment Knowledge::moment_of(Actor actor) {
  Stream& stream = caught_up(actor);
  if (!stream.moment) stream.moment = std::make_shared<const VectorClock>(stream.clock);
  return stream.moment;
}

void Knowledge::stream_learns(Actor actor, const VectorClock& clock) {
  Stream& stream = caught_up(actor);
  if (stream.clock.join(clock)) stream.moment = nullptr;
}

void Knowledge::host_learns(const VectorClock& clock) {
  if (host_.join(clock)) ++host_version_;
}

}  // namespace storm::sim
