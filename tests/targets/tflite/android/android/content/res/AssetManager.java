package android.content.res;

import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.RandomAccessFile;

/** Android's own, as far as the generated class calls it: the folder that -Dassets names. */
public final class AssetManager {
    public InputStream open(String name) throws IOException {
        return new FileInputStream(System.getProperty("assets") + "/" + name);
    }

    public AssetFileDescriptor openFd(String name) throws IOException {
        return new AssetFileDescriptor(new RandomAccessFile(System.getProperty("assets") + "/" + name, "r"));
    }
}
