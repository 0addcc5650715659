// Where in the user's program something is issued: the module whose forward runs, or, in backward,
// the module in whose forward the running node was made.
#pragma once

#include <cstdint>
#include <string>

namespace storm::sim {

using ModuleId = uint32_t;
using SiteId = uint32_t;  // 0: nowhere known

// Modules are told by name once, then by number. Both ends of a forward pass are told by the thread
// that runs it. No lock is held while calling out.
ModuleId name_module(const std::string& name);
void enter_module(ModuleId module);
void leave_module();

void forget_running_modules();  // of all threads: they are not told any more

SiteId current_site();
std::string describe(SiteId site);

}  // namespace storm::sim
