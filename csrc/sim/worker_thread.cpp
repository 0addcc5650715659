#include "sim/worker_thread.h"

#include <ATen/Parallel.h>
#include <c10/util/thread_name.h>
#include <dlfcn.h>
#include <sys/prctl.h>

namespace storm::sim {
namespace {

// at::set_num_threads would change the default of the whole process. The OpenMP and MKL settings
// below belong to the calling thread. Found at run time: torch brings its own copies of both.
template <class Setter>
void set_for_this_thread(const char* symbol, int threads) {
  if (auto* setter = reinterpret_cast<Setter*>(dlsym(RTLD_DEFAULT, symbol))) setter(threads);
}

}  // namespace

void prepare_worker_thread() {
  c10::setThreadName("sim_stream");
  prctl(PR_SET_TIMERSLACK, 1000);  // short delays and paced copies end on time
  at::get_num_threads();  // torch's own set-up of a new thread, which would override ours later
  set_for_this_thread<void(int)>("omp_set_num_threads", 1);
  set_for_this_thread<int(int)>("MKL_Set_Num_Threads_Local", 1);
}

}  // namespace storm::sim
