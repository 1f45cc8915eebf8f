package org.tensorflow.lite;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** The signatures of TFLite's own class that the generated one calls; LiteRT for Python does the work. */
public final class Interpreter implements AutoCloseable {
    public static class Options {
        int threads = -1;

        public Options setNumThreads(int threads) {
            this.threads = threads;
            return this;
        }
    }

    private final Path folder;
    private final int threads;
    private boolean closed;

    public Interpreter(ByteBuffer model, Options options) {
        if (!model.isDirect()) {
            throw new IllegalArgumentException("a model must be a direct buffer");
        }
        threads = options.threads;
        try {
            folder = Files.createTempDirectory("interpreter");
            write(folder.resolve("model.tflite"), model);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    public void runForMultipleInputsOutputs(Object[] inputs, Map<Integer, Object> outputs) {
        if (closed) {
            throw new IllegalStateException("closed");
        }
        try {
            for (int i = 0; i < inputs.length; i++) {
                write(folder.resolve("in" + i), (ByteBuffer) inputs[i]);
            }
            List<String> command = new ArrayList<>(List.of(System.getProperty("python"), "-c"));
            command.addAll(List.of(System.getProperty("script"), folder.toString(), "" + threads));
            Process process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
            if (process.waitFor() != 0) {
                throw new IllegalStateException("LiteRT failed");
            }
            for (Map.Entry<Integer, Object> output : outputs.entrySet()) {
                byte[] made = Files.readAllBytes(folder.resolve("out" + output.getKey()));
                ByteBuffer buffer = (ByteBuffer) output.getValue();
                if (buffer.order() != ByteOrder.nativeOrder() || buffer.remaining() != made.length) {
                    throw new IllegalArgumentException("an output of another size or byte order");
                }
                buffer.put(made);
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        } catch (InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    @Override
    public void close() {
        closed = true;
    }

    private static void write(Path path, ByteBuffer buffer) throws IOException {
        try (FileChannel file = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
            file.write(buffer.duplicate());
        }
    }
}
