#include "sim/settings.h"

#include <c10/util/Exception.h>

#include <cmath>

namespace storm::sim {
namespace {

void check_rate(const char* name, double rate) {
  TORCH_CHECK_VALUE(std::isfinite(rate) && rate >= 0, "sim: ", name,
                    " must be a positive bandwidth in bytes per second, or 0 for unthrottled; got ",
                    rate);
}

void check(const Config& config) {
  TORCH_CHECK_VALUE(config.memory_bytes >= 0,
                    "sim: memory must be positive, or 0 for unlimited; got ", config.memory_bytes);
  TORCH_CHECK_VALUE(config.devices >= 1 && config.devices <= kMaxDevices,
                    "sim: devices must be between 1 and ", kMaxDevices, "; got ", config.devices);
  TORCH_CHECK_VALUE(
      config.virtual_clock || !config.ghost,
      "sim: ghost memory needs clock='virtual': nothing is computed that could take time");
  TORCH_CHECK_VALUE(!config.virtual_clock || config.devices == 1,
                    "sim: clock='virtual' has one device; got ", config.devices);
  check_rate("d2h", config.d2h_bytes_per_s);
  check_rate("h2d", config.h2d_bytes_per_s);
  check_rate("pageable", config.pageable_bytes_per_s);
}

}  // namespace

Settings::Settings() {
  store(Config{});
}

void Settings::store(const Config& config) {
  check(config);
  memory_bytes = config.memory_bytes;
  d2h_bytes_per_s = config.d2h_bytes_per_s;
  h2d_bytes_per_s = config.h2d_bytes_per_s;
  pageable_bytes_per_s = config.pageable_bytes_per_s;
  devices = config.devices;
  poison = config.poison;
  synchronous = config.synchronous;
  virtual_clock = config.virtual_clock;
  ghost = config.ghost;
  races = config.races;
}

Config Settings::load() const {
  Config config;
  config.memory_bytes = memory_bytes;
  config.d2h_bytes_per_s = d2h_bytes_per_s;
  config.h2d_bytes_per_s = h2d_bytes_per_s;
  config.pageable_bytes_per_s = pageable_bytes_per_s;
  config.devices = devices;
  config.poison = poison;
  config.synchronous = synchronous;
  config.virtual_clock = virtual_clock;
  config.ghost = ghost;
  config.races = races;
  return config;
}

Settings& settings() noexcept {
  static auto* instance = new Settings;  // leaked: stream threads outlive static destruction
  return *instance;
}

}  // namespace storm::sim
