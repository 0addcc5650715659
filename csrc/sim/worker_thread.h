// What a stream's thread sets up before its first task.
#pragma once

namespace storm::sim {

// Names the thread and limits it to one intra-op thread. torch.set_num_threads, on any other
// thread, does not reach it: a kernel's result must not depend on who set what when.
void prepare_worker_thread();

}  // namespace storm::sim
