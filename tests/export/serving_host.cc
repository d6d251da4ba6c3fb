// A host without Python: loads a SavedModel with the class that TensorFlow Serving loads it with,
// and answers one request of files.
//
//   serving_host FOLDER FILE...
//
// Prints a line for each detection of each file: file, class, score, x1, y1, x2, y2.
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/public/session_options.h"

namespace {

std::string ReadFile(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

int main(int argc, char** argv) {
  tensorflow::SavedModelBundle bundle;
  absl::Status status =
      tensorflow::LoadSavedModel(tensorflow::SessionOptions(), tensorflow::RunOptions(), argv[1],
                                 {"serve"}, &bundle);
  if (!status.ok()) {
    std::cerr << "loading: " << status << "\n";
    return 1;
  }
  const auto& signature = bundle.GetSignatures().at("serve_bytes");
  const int number = argc - 2;
  tensorflow::Tensor files(tensorflow::DT_STRING, {number});
  for (int i = 0; i < number; ++i) files.vec<tensorflow::tstring>()(i) = ReadFile(argv[i + 2]);

  std::vector<std::string> names;
  for (const char* key : {"num_detections", "classes", "scores", "boxes"}) {
    names.push_back(signature.outputs().at(key).name());
  }
  std::vector<tensorflow::Tensor> outputs;
  status = bundle.GetSession()->Run({{signature.inputs().at("image_bytes").name(), files}}, names,
                                    {}, &outputs);
  if (!status.ok()) {
    std::cerr << "running: " << status << "\n";
    return 2;
  }
  const auto classes = outputs[1].matrix<int>();
  const auto scores = outputs[2].matrix<float>();
  const auto boxes = outputs[3].tensor<float, 3>();
  std::cout.precision(9);
  for (int i = 0; i < number; ++i) {
    for (int slot = 0; slot < outputs[0].vec<int>()(i); ++slot) {
      std::cout << i << " " << classes(i, slot) << " " << scores(i, slot);
      for (int side = 0; side < 4; ++side) std::cout << " " << boxes(i, slot, side);
      std::cout << "\n";
    }
  }
  return 0;
}
